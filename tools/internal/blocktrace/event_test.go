package blocktrace

import (
	"testing"
	"time"
)

func TestParseEvent(t *testing.T) {
	nvme := Device{259, 0}
	for line, want := range map[string]Event{
		"   dd-201     [000] .....    21.707969: block_rq_issue: 259,0 WFS 4096 () 0 + 8 be,0,4 [dd]": {
			At: 21707969 * time.Microsecond, Dev: nvme, Op: Write, FUA: true, Sectors: 8,
		},
		"  <idle>-0 [000] d.h1.  21.710586: block_rq_complete: 259,0 WFS () 40 + 8 be,0,4 [-5]": {
			At: 21710586 * time.Microsecond, Complete: true, Dev: nvme, Op: Write, FUA: true,
			Sector: 40, Sectors: 8, Err: -5,
		},
		"  kworker/0:1H-139 [000] ..... 21.711878: block_rq_issue: 259,0 FF 0 () 0 + 0 none,0,0 [k 1]": {
			At: 21711878 * time.Microsecond, Dev: nvme, Op: Flush,
		},
		"  <idle>-0 [000] dNH2. 21.718281: block_rq_complete: 259,0 FF () 18446744073709551615 + 0 [0]": {
			At: 21718281 * time.Microsecond, Complete: true, Dev: nvme, Op: Flush, Sector: 1<<64 - 1,
		},
		"  a b-1 [000] ..... 0.000001: block_rq_issue: 8,16 FWFS 8192 () 7 + 16 [a b]": {
			At: time.Microsecond, Dev: Device{8, 16}, Op: Write, FUA: true, Sector: 7, Sectors: 16,
		},
		"  a-1 [000] ..... 0.000001: block_rq_issue: 8,16 RA 8192 () 7 + 16 [a]": {
			At: time.Microsecond, Dev: Device{8, 16}, Op: Read, Sector: 7, Sectors: 16,
		},
		"  a-1 [000] ..... 0.000001: block_rq_issue: 8,16 DS 8192 () 7 + 16 [a]": {
			At: time.Microsecond, Dev: Device{8, 16}, Op: Discard, Sector: 7, Sectors: 16,
		},
	} {
		if got, ok := parseEvent(line); !ok || got != want {
			t.Errorf("%s\ngot  %+v, %t\nwant %+v", line, got, ok, want)
		}
	}
}

func TestParseEventRefuses(t *testing.T) {
	for _, line := range []string{
		"", "CPU:0 [LOST 17 EVENTS]", "# tracer: nop",
		"  a-1 [000] ..... 0.000001: block_rq_insert: 8,16 W 8192 () 7 + 16 [a]",
		"  a-1 [000] ..... 0.000001: block_rq_issue: 8,16 W 8192 () 7",
		"  a-1 [000] ..... 0.000001: block_rq_issue: 8:16 W 8192 () 7 + 16 [a]",
		"  a-1 [000] ..... 0.1: block_rq_issue: 8,16 W 8192 () 7 + 16 [a]",
		"  a-1 [000] ..... 0.000001: block_rq_complete: 8,16 W () 7 + 16 [a]",
		": block_rq_issue: ",
	} {
		if e, ok := parseEvent(line); ok {
			t.Errorf("%q was read as %+v", line, e)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add("  a-1 [000] ..... 0.000001: block_rq_complete: 8,16 W () 7 + 16 [0]")
	f.Add("  a-1 [000] ..... 0.000001: block_rq_issue: 8,16 FF 0 () 7 + 16 be,0,4 [a]")
	f.Fuzz(func(t *testing.T, line string) {
		if e, ok := parseEvent(line); !ok && e != (Event{}) {
			t.Errorf("a refused line gave %+v", e)
		}
	})
}

func TestParseStat(t *testing.T) {
	got, err := parseStat("  12  3  2048 7  100 1  800 9 0 10 11 0 0 0 0 5 6\n")
	if want := (Counts{12, 2048 * 512, 100, 800 * 512}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if d := got.Sub(Counts{2, 512, 50, 1024}); d != (Counts{10, 2047 * 512, 50, 798 * 512}) {
		t.Errorf("the difference is %+v", d)
	}
	for _, text := range []string{"", "1 2 3 4 5 6", "1 2 3 4 5 6 x"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestRun(t *testing.T) {
	var r Run
	if r.Share() != 0 || r.Mean() != 0 {
		t.Error("an empty stream has figures")
	}
	for _, x := range [][2]uint64{{0, 4096}, {4096, 8192}, {0, 4096}, {4096, 8192}} {
		r.Add(x[0], x[1])
	}
	if r.Requests != 4 || r.Bytes != 24576 || r.Sequential != 2 || r.Share() != 0.5 ||
		r.Mean() != 6144 {
		t.Errorf("%+v, share %v, mean %v", r, r.Share(), r.Mean())
	}
}
