package vmbench

import (
	"strings"
	"testing"
)

func TestParseGuests(t *testing.T) {
	g, err := parseGuests("")
	if err != nil || g.allMiB() != 1024 || g.segmentMiB() != 16 {
		t.Errorf("by default %+v, %v", g, err)
	}
	g, err = parseGuests("3x20+40")
	if err != nil || g.volumes != 3 || g.mib != 20 || g.logMiB != 40 || g.segmentMiB() != 2 {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err = parseGuests("3x20"); err == nil || !strings.Contains(err.Error(), guestsEnv+"=3x20: want") {
		t.Error(err)
	}
}

func TestHardDiskReport(t *testing.T) {
	h := HardDisk{
		Published: []PublishedFigure{{"4 KiB random read, QD 1", 80, 84}}, Volumes: 8, VolumeMiB: 32,
		Depth: 4, LogMiB: 64, Bare: 500, Room: 2000, Sustained: 1000, IdleP99: 1e7, BusyP99: 2e8, Stream: 3e8,
		Streams: []float64{0.9, 1, 1.1}, Virtual: "much the same",
	}
	got := (&Report{HardDisk: &h}).String()
	for _, want := range []string{
		"+5.0 %\n", "2000 while the log has room (4.0 times), 1000", "(2.0 times)",
		"p99 200.0 ms meanwhile, 10.0",
		"at 0.90 to 1.10 (median 1.00) of the 300 MB/s", "virtual time:\nmuch the same\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
}
