package ublk

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

func TestCommandCodes(t *testing.T) {
	for name, c := range map[string][2]uint32{
		"ADD_DEV":          {cmdAddDev, 0xc0207504},
		"GET_FEATURES":     {cmdGetFeatures, 0x80207513},
		"FETCH_REQ":        {ioFetch, 0xc0107520},
		"COMMIT_AND_FETCH": {ioCommitAndFetch, 0xc0107521},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %#x, want %#x", name, c[0], c[1])
		}
	}
}

func TestPositions(t *testing.T) {
	if got, want := copyPos(0, 0, 0), int64(0x80000000); got != want {
		t.Errorf("first byte at %#x, want %#x", got, want)
	}
	want := int64(0x80000000 + 3<<41 + 127<<25 + 8192)
	if got := copyPos(3, 127, 8192); got != want {
		t.Errorf("tag 127 of queue 3 at %#x, want %#x", got, want)
	}
	if got := descPos(1); got != 98304 {
		t.Errorf("descriptors of queue 1 at %d, want 98304", got)
	}
	for depth, want := range map[int]int{1: 4096, 128: 4096, 171: 8192, 4096: 98304} {
		if got := descLen(depth); got != want {
			t.Errorf("descriptors of depth %d: %d bytes, want %d", depth, got, want)
		}
	}
	w0, w1 := ioCmd(2, 5, -5)
	if w0 != 0xfffffffb_0005_0002 || w1 != 0 {
		t.Errorf("command words %#x, %#x", w0, w1)
	}
}

func TestParamsRoundTrip(t *testing.T) {
	full := Params{
		Size: 20 << 30, LogicalBlock: 512, PhysicalBlock: 4096, IOMin: 4096, IOOpt: 1 << 20,
		MaxIO: 512 << 10, ReadOnly: true, Rotational: true, VolatileCache: true, FUA: true,
		DiscardGranularity: 4096, MaxDiscard: 1 << 40, MaxWriteZeroes: 1 << 30,
	}
	plain := Params{Size: 4096}.withDefaults(1 << 20)
	for _, p := range []Params{full, plain} {
		if err := p.validate(1 << 20); err != nil {
			t.Error(err)
		}
		raw := p.encode()
		if got := decodeParams(&raw); got != p {
			t.Errorf("\n got %+v\nwant %+v", got, p)
		}
	}
}

func TestParamsThatTheKernelWouldRefuseAreExplained(t *testing.T) {
	for word, change := range map[string]func(*Params){
		"size":           func(p *Params) { p.Size = 100 },
		"size of 0":      func(p *Params) { p.Size = 0 },
		"logical":        func(p *Params) { p.LogicalBlock = 8192 },
		"physical":       func(p *Params) { p.PhysicalBlock = 3000 },
		"minimum":        func(p *Params) { p.IOMin = 100 },
		"optimal":        func(p *Params) { p.IOOpt = 1 << 30 },
		"largest I/O":    func(p *Params) { p.MaxIO = 2 << 20 },
		"granularity of": func(p *Params) { p.DiscardGranularity = 100 },
		"discard of":     func(p *Params) { p.MaxDiscard = 1 << 50 },
		"write-zeroes":   func(p *Params) { p.MaxWriteZeroes = -1 },
		"without a":      func(p *Params) { p.MaxDiscard = 4096 },
	} {
		p := Params{Size: 1 << 20}.withDefaults(1 << 20)
		change(&p)
		if err := p.validate(1 << 20); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v, want one about %q", err, word)
		}
	}
}

func TestFeaturesAreNamedWithTheirVersion(t *testing.T) {
	err := (UserCopy | CmdIoctlEncode).Require(Required)
	var u *UnsupportedError
	if !errors.As(err, &u) || !errors.Is(err, ErrUnsupported) || u.Since != "6.1" ||
		!strings.Contains(u.Name, "USER_RECOVERY|USER_RECOVERY_REISSUE") {
		t.Errorf("missing recovery: %v", err)
	}
	if err := Required.Require(Required); err != nil {
		t.Error(err)
	}
	if got := (Quiesce | 1<<40).String(); got != "QUIESCE|bit 40" {
		t.Errorf("named %q", got)
	}
	if UpdateSize.Since() != "6.16" || Features(3).Since() != "" {
		t.Error("wrong version")
	}
	if len(featureTable) != 21 || Features(1)<<(len(featureTable)-1) != IODescSize {
		t.Errorf("the table names %d flags", len(featureTable))
	}
}

func TestErrno(t *testing.T) {
	if got := Errno(syscall.ENOSPC); got != -int32(syscall.ENOSPC) {
		t.Errorf("ENOSPC becomes %d", got)
	}
	if got := Errno(errors.New("bad sector")); got != -int32(syscall.EIO) {
		t.Errorf("any other error becomes %d", got)
	}
}
