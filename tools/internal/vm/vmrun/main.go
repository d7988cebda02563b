// Command vmrun runs a command, or the tests of a Go package, in a virtual machine under one of
// Debian's kernels. See package vm for what the guest is.
//
//	go run ./tools/internal/vm/vmrun -kernel backports -- uname -r
//	go run ./tools/internal/vm/vmrun -drive log=/srv/log -nvme data=/srv/data -- ls -l /dev/vm
//	go run ./tools/internal/vm/vmrun -test ./ublk -- -test.v -test.run Recovery
//
// One argument after -- is a shell command, several are a program and its arguments. The exit
// status is the command's; 124: it did not end in time; 125: the machine did not run it; 6: this
// host lacks something, which the message names; 2: wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"unblend/tools/internal/vm"
)

// Exit statuses of vmrun's own.
const (
	exitUsage   = 2
	exitLacking = 6
	exitTimeout = 124
	exitMachine = 125
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// options are vmrun's flags.
type options struct {
	cfg   vm.Config
	pkg   string // Go package to test
	renew bool
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (options, []string, error) {
	var o options
	f := flag.NewFlagSet("vmrun", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintln(stderr, "usage: vmrun [flags] -- COMMAND [ARGUMENT...]")
		fmt.Fprintln(stderr, "       vmrun [flags] -test PACKAGE [-- TEST FLAGS]")
		f.PrintDefaults()
	}
	f.StringVar(&o.cfg.Kernel, "kernel", vm.DefaultKernel, "6.12, backports, or a series like 7.3")
	f.BoolVar(&o.renew, "renew", false, "fetch the newest kernel of that name, cached or not")
	f.StringVar(&o.cfg.Memory, "mem", vm.DefaultMemory, "memory of the guest")
	f.IntVar(&o.cfg.CPUs, "smp", vm.DefaultCPUs, "CPUs of the guest")
	f.DurationVar(&o.cfg.Timeout, "t", vm.DefaultTimeout, "time limit")
	f.StringVar(&o.cfg.Share, "rw", "", "host directory, writable in the guest at /rw")
	f.BoolVar(&o.cfg.SVM, "svm", false, "emulate AMD virtualization: modprobe kvm-amd")
	f.BoolVar(&o.cfg.Counted, "counted", false, "the guest's clock counts instructions")
	f.StringVar(&o.cfg.Append, "append", "", "words for the kernel's command line")
	f.StringVar(&o.pkg, "test", "", "run the tests of this Go package, built on the host")
	add := func(to *[]string) func(string) error {
		return func(s string) error {
			*to = append(*to, s)
			return nil
		}
	}
	f.Func("env", "NAME=value for the guest (repeatable)", add(&o.cfg.Env))
	f.Func("file", "host file, in the guest at /vm/BASENAME (repeatable)", add(&o.cfg.Files))
	f.Func("qemu", "one further argument of QEMU (repeatable)", add(&o.cfg.Args))
	drive := func(bus vm.Bus) func(string) error {
		return func(s string) error {
			name, path, ok := strings.Cut(s, "=")
			if !ok {
				return errors.New("want NAME=PATH")
			}
			o.cfg.Drives = append(o.cfg.Drives, vm.Drive{Name: name, Path: path, Bus: bus})
			return nil
		}
	}
	f.Func("drive", "NAME=PATH: virtio disk, at /dev/vm/NAME; PATH is a file, a block device or\n"+
		"nbd+unix:///EXPORT?socket=SOCKET (repeatable)", drive(vm.Virtio))
	f.Func("nvme", "NAME=PATH: the same as an NVMe with a volatile cache (repeatable)",
		drive(vm.NVMe))
	err := f.Parse(args)
	if err == nil && o.pkg == "" && f.NArg() == 0 {
		err = errors.New("no command")
		fmt.Fprintln(stderr, "vmrun:", err)
		f.Usage()
	}
	return o, f.Args(), err
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, words, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return exitUsage
	}
	o.cfg.Output, o.cfg.Log = stdout, stderr
	var res vm.Result
	if o.renew {
		_, err = vm.Find(ctx, o.cfg.Kernel, true, stderr)
	}
	switch {
	case err != nil:
	case o.pkg != "":
		res, err = vm.RunTest(ctx, o.cfg, o.pkg, words...)
	default:
		o.cfg.Command = command(words)
		res, err = vm.Run(ctx, o.cfg)
	}
	if err != nil {
		fmt.Fprintln(stderr, "vmrun:", err)
		return errorStatus(err)
	}
	fmt.Fprintf(stderr, "vm: %s, booted in %.1f s, ran for %.1f s, status %d\n", res.Kernel,
		res.Boot.Seconds(), res.Run.Seconds(), res.Status)
	return res.Status
}

// command returns the shell command that words after -- stand for.
func command(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = vm.Quote(w)
	}
	return strings.Join(quoted, " ")
}

// errorStatus is the exit status for a machine that did not run the command to its end.
func errorStatus(err error) int {
	var missing *vm.MissingError
	switch {
	case errors.As(err, &missing):
		return exitLacking
	case errors.Is(err, vm.ErrTimeout):
		return exitTimeout
	default:
		return exitMachine
	}
}
