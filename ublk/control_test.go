package ublk

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernelAtLeast says whether the running kernel is of that version or newer.
func kernelAtLeast(t *testing.T, version string) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	number := func(s string) (n int) {
		var major, minor int
		if _, err := fmt.Sscanf(s, "%d.%d", &major, &minor); err != nil {
			t.Fatalf("kernel version %q: %v", s, err)
		}
		return major*1000 + minor
	}
	return number(unix.ByteSliceToString(u.Release[:])) >= number(version)
}

// The version that is said to have introduced a feature is itself tested.
func TestKernelHasTheFeaturesOfItsVersion(t *testing.T) {
	c := control(t)
	f, err := c.Features(patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("features %#x: %v", uint64(f), f)
	if err := f.Require(Required); err != nil {
		t.Error(err)
	}
	for bit, e := range featureTable {
		if has, should := f.Has(1<<bit), kernelAtLeast(t, e.since); has != should {
			t.Errorf("%s: kernel says %v, the table %v", e.name, has, should)
		}
	}
}

func TestDeviceIsWhatWasAskedFor(t *testing.T) {
	c := control(t)
	want := UpdateSize | Quiesce | NoAutoPartScan
	info, err := c.Add(DeviceConfig{ID: AnyID, Depth: 32, MaxIO: 256 << 10, Want: want}, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Delete(info.ID, patience)
	f, _ := c.Features(patience)
	if info.Depth != 32 || info.Queues != 1 || info.MaxIO != 256<<10 || info.State != Dead {
		t.Errorf("added %+v", info)
	}
	if !info.Flags.Has(Required) || info.Flags&want != f&want {
		t.Errorf("flags %v, of %v", info.Flags, f)
	}
	p := Params{
		Size: 123 << 20, DiscardGranularity: 4096, MaxDiscard: 1 << 30, MaxWriteZeroes: 64 << 20,
		Rotational: true, VolatileCache: true,
	}
	if err := c.SetParams(info, p, patience); err != nil {
		t.Fatal(err)
	}
	got, err := c.Params(info.ID, patience)
	if want := p.withDefaults(info.MaxIO); err != nil || got != want {
		t.Errorf("parameters read back (%v)\n got %+v\nwant %+v", err, got, want)
	}
	cpus, err := c.QueueCPUs(info.ID, 0, patience)
	if err != nil || len(cpus) == 0 {
		t.Errorf("queue 0 serves CPUs %v (%v)", cpus, err)
	}
	list, err := c.Devices(patience)
	if err != nil || len(list) != 1 || list[0] != info {
		t.Errorf("devices %+v (%v), want only %+v", list, err, info)
	}
	again := DeviceConfig{ID: int(info.ID)}
	if _, err := c.Add(again, patience); !errors.Is(err, unix.EEXIST) {
		t.Errorf("the same number again: %v, want EEXIST", err)
	}
}

func TestErrorsOfTheControlDeviceAreNamed(t *testing.T) {
	c := control(t)
	const nobody = 54321
	if _, err := c.Info(nobody, patience); !errors.Is(err, ErrNoDevice) {
		t.Errorf("info of no device: %v", err)
	}
	if err := c.Delete(nobody, patience); !errors.Is(err, ErrNoDevice) ||
		!strings.Contains(err.Error(), "device 54321") {
		t.Errorf("delete of no device: %v", err)
	}
	info, err := c.Add(DeviceConfig{ID: AnyID}, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Delete(info.ID, patience)
	if err := c.Start(info.ID, time.Second); !errors.Is(err, unix.EINVAL) {
		t.Errorf("start without parameters: %v", err)
	}
	if err := c.StartRecovery(info.ID, patience); !errors.Is(err, ErrDead) {
		t.Errorf("recovery of a device that never started: %v", err)
	}
	for what, f := range map[Features]func() error{
		UpdateSize:  func() error { return c.UpdateSize(info.ID, 1<<20, patience) },
		Quiesce:     func() error { return c.Quiesce(info.ID, time.Second, patience) },
		SafeStopDev: func() error { return c.TryStop(info.ID, patience) },
	} {
		err := f()
		var u *UnsupportedError
		has := kernelAtLeast(t, what.Since())
		if has && what != Quiesce && errors.Is(err, ErrUnsupported) {
			t.Errorf("%v: %v", what, err)
		}
		if !has && (!errors.As(err, &u) || u.Since != what.Since()) {
			t.Errorf("%v: %v, want that it needs %s", what, err, what.Since())
		}
	}
}

// START_DEV waits for fetches that never come: a stand-in for any command that gets no answer.
func TestCommandWithoutAnswerTimesOut(t *testing.T) {
	c := control(t)
	info, err := c.Add(DeviceConfig{ID: AnyID}, patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetParams(info, Params{Size: 1 << 20}, patience); err != nil {
		t.Fatal(err)
	}
	const limit = 150 * time.Millisecond
	errs := make(chan error, 40)
	start := time.Now()
	for range cap(errs) { // more than the control ring has slots
		go func() { errs <- c.Start(info.ID, limit) }()
	}
	if _, err := c.Features(patience); err != nil {
		t.Errorf("another command meanwhile: %v", err)
	}
	for range cap(errs) {
		err := <-errs
		var te *TimeoutError
		if !errors.As(err, &te) || !errors.Is(err, ErrTimeout) || te.Stuck {
			t.Errorf("start without fetches: %v", err)
		}
	}
	if took := time.Since(start); took < limit || took > patience/2 {
		t.Errorf("timed out after %v, want %v", took, limit)
	}
	if err := c.Delete(info.ID, patience); err != nil {
		t.Error(err)
	}
}

func TestClosedControlRefuses(t *testing.T) {
	c := control(t)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Features(time.Second); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// A machine without the driver gets an error that says what to do; this test runs where the
// others are skipped.
func TestMissingDriverIsNamed(t *testing.T) {
	if _, err := os.Stat(ControlPath); err == nil {
		c := control(t)
		if _, err := c.Features(patience); err != nil {
			t.Error(err)
		}
		return
	}
	if _, err := OpenControl(); !errors.Is(err, ErrNoDriver) {
		t.Errorf("got %v, want ErrNoDriver", err)
	}
}
