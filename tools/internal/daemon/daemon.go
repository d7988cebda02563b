package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/tools/internal/control"
	"unblend/tools/internal/device"
	"unblend/tools/internal/shard"
	"unblend/ublk"
)

// daemon is the running program.
type daemon struct {
	cfg     control.ServeConfig
	log     *slog.Logger
	notify  *notifier
	started time.Time
	warn    warnings
	growth  growth
	faults  chan error // of single devices, on their way to the log
	end     chan struct{}
	endOnce sync.Once

	backing    *device.Pool
	spins      [2]bool // which of its devices are hard disks
	pool       *placement.Pool
	shards     *shard.Shards
	durability placement.Durability
	names      nameLocks
	restored   int        // volumes attached again at the start
	growing    sync.Mutex // held while the pool is made larger

	mu       sync.Mutex
	ublk     *ublk.Control      // guarded by mu; nil: no driver
	features ublk.Features      // guarded by mu
	served   map[string]*served // guarded by mu; by name of the volume
	numbers  map[int]string     // guarded by mu; device numbers that are given out
}

// Run serves the pool that cfg names until ctx ends, SIGTERM or SIGINT comes, or a request asks for
// the end; then it returns nil. Other errors are such that control.ErrorOf gives them their code.
func Run(ctx context.Context, cfg control.ServeConfig) error {
	complete(&cfg)
	if err := cfg.Validate(); err != nil {
		return err
	}
	ctx, release := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer release() // a second signal ends the process at once
	d := &daemon{
		cfg: cfg, log: slog.Default(), notify: newNotifier(), started: time.Now(),
		faults: make(chan error, 16), end: make(chan struct{}),
		served: map[string]*served{}, numbers: map[int]string{},
	}
	if err := confine(cfg.CPUs); err != nil {
		return err
	}
	d.prepareProcess()
	l, err := control.Listen(cfg.Socket, cfg.SocketGroup)
	if err != nil {
		return err
	}
	claim, err := claimLinks(cfg.LinkDir)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer claim.release()
	if err := d.open(); err != nil {
		return errors.Join(err, l.Close())
	}
	limitGarbage()
	d.openDriver()
	if cfg.DropPrivileges {
		if err := dropPrivileges(); err != nil {
			d.log.Warn("the process keeps privileges that it does not need", "err", err)
		}
	}
	d.restore(ctx)
	return d.run(ctx, release, l)
}

// complete fills in the defaults.
func complete(cfg *control.ServeConfig) {
	setDefault(&cfg.Socket, control.DefaultSocket)
	setDefault(&cfg.LinkDir, control.DefaultLinkDir)
	setDefault(&cfg.OnFull, control.OnFullWait)
	setDefault(&cfg.Memory, control.DefaultMemory)
	setDefault(&cfg.LogInFlight, control.DefaultLogInFlight)
	setDefault(&cfg.Low, control.DefaultLow)
	setDefault(&cfg.High, control.DefaultHigh)
	setDefault(&cfg.Wait, control.DefaultWait)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// open claims the devices, recovers the pool and starts the loop.
func (d *daemon) open() error {
	b, err := d.openBacking()
	if err != nil {
		return err
	}
	d.backing, d.spins = b, spinning(b)
	d.placeMemory()
	d.notify.status("recovering the pool")
	// What a former daemon wrote and was not told of any more: what recovery reads of it, it must
	// find again after a power cut.
	if err := eachDevice(b, (*device.Device).Flush); err != nil {
		return errors.Join(err, b.Close())
	}
	begin := time.Now()
	d.pool, err = placement.Open(b.Disks(), d.options())
	if err != nil {
		return errors.Join(fmt.Errorf("pool on %s: %w", paths(b), err), b.Close())
	}
	list := d.pool.Volumes(false)
	d.growth.start(footprintsOf(list))
	st := d.pool.Status()
	d.durability = st.Durability
	d.log.Info("pool recovered", "devices", paths(b), "generation", st.Generation,
		"volumes and snapshots", len(list), "took", time.Since(begin).Round(time.Millisecond))
	cfg := shard.Config{
		Pool: d.pool, Files: files(b), Memory: d.requestMemory(), CPUs: d.cfg.CPUs, Shards: d.pool.Lanes(),
		Fault: d.fault, MaxBlocks: maxBlocks(b),
	}
	for _, r := range st.Regions {
		if r.Class == "log" && r.Dev == log.Fast {
			cfg.LogStart, cfg.LogEnd = r.Start, r.End
		}
	}
	giveProcs(cfg.Shards)
	if d.shards, err = shard.Start(cfg); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

// openDriver connects to the ublk driver. Without it the pool is served all the same, but no volume
// has a device.
func (d *daemon) openDriver() {
	if _, err := d.driver(); err != nil {
		d.log.Warn("volumes cannot be attached", "err", err)
		d.warn.set("no-ublk", "volumes cannot be attached: "+err.Error(), "unblend doctor")
	}
}

// driver returns the connection to the ublk driver. It tries anew each time while there is none:
// the module may have been loaded since.
func (d *daemon) driver() (*ublk.Control, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ublk != nil {
		return d.ublk, nil
	}
	c, err := ublk.OpenControl()
	if err != nil {
		return nil, err
	}
	features, err := c.Features(commandTime)
	if err == nil {
		err = features.Require(ublk.Required)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	d.ublk, d.features = c, features
	d.warn.clear("no-ublk")
	return c, nil
}

// run answers the socket until the end.
func (d *daemon) run(ctx context.Context, release func(), l *control.Listener) error {
	srv := control.NewServer(d, d.cfg.Version, d.log)
	if d.cfg.Profiles {
		srv.OfferProfiles()
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	go d.logFaults()
	go d.watchSpace(ctx)
	d.ready(ctx)
	var err error
	select {
	case <-ctx.Done():
	case <-d.end:
	case <-d.shards.Done():
		return fmt.Errorf("the loop ended: %w", d.shards.Err())
	case err = <-ended:
	}
	release()
	d.notify.send("STOPPING=1")
	stop, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	return errors.Join(err, srv.Shutdown(stop), d.shutdown())
}

// ready tells systemd, and from then on that the loop turns.
func (d *daemon) ready(ctx context.Context) {
	d.mu.Lock()
	n := len(d.served)
	d.mu.Unlock()
	d.notify.send("READY=1")
	d.notify.status(fmt.Sprintf("serving %d volumes", n))
	d.log.Info("ready", "socket", d.cfg.Socket, "attached", n,
		"took", time.Since(d.started).Round(time.Millisecond))
	if every := d.notify.watchdog(); every > 0 {
		go d.watch(ctx, every)
	}
}

// watch tells systemd's watchdog that the loop turns, as long as it does.
func (d *daemon) watch(ctx context.Context, every time.Duration) {
	for tick := time.NewTicker(every / 2); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if d.shards.Do(func() {}) == nil {
				d.notify.send("WATCHDOG=1")
			}
		}
	}
}
