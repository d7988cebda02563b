// Command faultdiskd runs a faultdisk server as a process of its own, for tests whose disks must
// outlive the program under test, and for use inside a virtual machine with nbd-client.
//
//	faultdiskd --disk d0:1G --disk d1:8G,file=/x/d1 --listen unix:/x/nbd --control /x/ctl
//	faultdiskd ctl /x/ctl '{"verb":"cut","seed":7,"mode":"random"}'
//
// The first form prints "ready" once its sockets accept connections, and ends on SIGTERM or SIGINT:
// then everything completed is in the files. The second sends each further argument as one line to
// the control socket of the first and prints the answers; it fails when one of them is an error.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"unblend/tools/internal/faultdisk"
)

func main() {
	err := errors.New("ctl: want a control socket and commands")
	switch args := os.Args[1:]; {
	case len(args) == 0 || args[0] != "ctl":
		err = serve(args)
	case len(args) > 2:
		err = control(args[1], args[2:])
	}
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "faultdiskd:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	flags := pflag.NewFlagSet("faultdiskd", pflag.ContinueOnError)
	disks := flags.StringArray("disk", nil,
		"NAME:SIZE[,sector=N][,file=PATH][,rotational][,nofua][,lying]")
	listen := flags.StringArray("listen", nil, "NBD socket: unix:PATH or tcp:HOST:PORT")
	ctl := flags.String("control", "", "control socket, a path")
	memory := flags.String("memory", "1G", "limit of the memory for contents and caches")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var cfg faultdisk.Config
	var err error
	if cfg.MemoryLimit, err = faultdisk.ParseSize(*memory); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	for _, arg := range *disks {
		d, err := faultdisk.ParseDisk(arg)
		if err != nil {
			return err
		}
		cfg.Disks = append(cfg.Disks, d)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	s, err := faultdisk.New(cfg)
	if err != nil {
		return err
	}
	if err := open(s, *listen, *ctl); err != nil {
		return errors.Join(err, s.Close())
	}
	fmt.Println("ready")
	<-stop
	return s.Close()
}

// open starts all sockets.
func open(s *faultdisk.Server, listen []string, ctl string) error {
	for _, arg := range listen {
		network, address, _ := strings.Cut(arg, ":")
		if network != "unix" && network != "tcp" {
			return fmt.Errorf("listen %q: want unix:PATH or tcp:HOST:PORT", arg)
		}
		if _, err := s.Listen(network, address); err != nil {
			return err
		}
	}
	if ctl == "" {
		return nil
	}
	return s.ListenControl(ctl)
}

func control(path string, lines []string) error {
	r, err := faultdisk.Dial(path)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, line := range lines {
		got, err := r.Do([]byte(line))
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", got)
		var a struct{ Error string }
		if err := json.Unmarshal(got, &a); err != nil {
			return err
		}
		if a.Error != "" {
			return errors.New(a.Error)
		}
	}
	return nil
}
