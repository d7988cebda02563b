package main

import (
	"encoding/json"
	"strings"
	"testing"

	"unblend/tools/internal/control"
)

// TestTraceDestage runs the view on this kernel, beside a daemon whose volumes have no devices here.
func TestTraceDestage(t *testing.T) {
	needRoot(t)
	socket, _ := serveFake(t)
	code, out, complaint := call(t.Context(), "trace", "destage", "0.2s", "2", "--json", "--socket", socket)
	if code != 0 || strings.Count(out, "\n") != 2 {
		t.Fatalf("exit code %d, %q, %q", code, out, complaint)
	}
	for line := range strings.Lines(out) {
		var doc control.TraceDestage
		if err := json.Unmarshal([]byte(line), &doc); err != nil || doc.Schema != control.SchemaTraceDestage {
			t.Errorf("%v: %s", err, line)
		}
	}
	// The devices of this pool are not there to be seen, so nothing can be said to agree.
	code, out, complaint = call(t.Context(), "trace", "destage", "--seconds", "0.2s", "--verify",
		"--socket", socket)
	if code != 5 || !strings.Contains(out, "VERIFIED") {
		t.Errorf("exit code %d, %q, %q", code, out, complaint)
	}
}

func TestDestageScreen(t *testing.T) {
	const mib = 1 << 20
	row := control.DestageRow{
		WriteBytes: 100 * mib, MergeBytes: mib, Logged: 101 * mib, Absorbed: 30 * mib, Dropped: mib,
		Destaged: 60 * mib, LiveChange: 10 * mib, Placed: 62 * mib, AbsorbedShare: 0.34, Fill: 0.97,
		Runs: 100, MeanRun: 417 << 10, MedianRun: 256 << 10, SeekRate: 2.4, AgeP50: 41, AgeP99: 552,
		StallSeconds: 0.25,
	}
	db := row
	db.Name = "db1"
	doc := control.TraceDestage{
		Seconds: 60, Total: row, Volumes: []control.DestageRow{db, {Name: "idle"}}, LogFill: 0.38,
		Devices: control.DestageDisks{
			Seen: true, Log: 110 * mib, Data: 65 * mib, Metadata: 2 * mib, DestageReadBytes: 62 * mib,
			ReplacedBytes: 3 * mib,
			Amplification: 1.74, Floor: 1.66,
		},
		Efficiency: &control.Efficiency{
			Gain: 9.5, AsIsSeconds: 19, SentSeconds: 2, SeekMillis: 8, MBPerSecond: 150,
		},
		Verify: &control.VerifyResult{OK: true, Classes: []control.VerifyClass{
			{Class: "log", Seen: 7, Least: 7, Most: 8},
		}},
		Notes: []string{"odd"},
	}
	const want = `60.0 s, log 38 % full, 0 events lost
VOLUME  WRITTEN  ABSORBED  DESTAGED  FILL      RUN   MEDIAN  SEEKS/MiB  IN LOG 50 %   99 %  STALLED
db1     100 MiB      34 %    60 MiB  97 %  417 KiB  256 KiB        2.4       41.0 s  9 min   250 ms
all     100 MiB      34 %    60 MiB  97 %  417 KiB  256 KiB        2.4       41.0 s  9 min   250 ms
SENT log 110 MiB, destage 62 MiB, re-placement 3 MiB, metadata 2 MiB, as the kernel sent it
READ for destage 62 MiB
WRITE AMPLIFICATION 1.74 (floor 1.66: logged once, what is left moved once)
LOGGED 101 MiB = written 100 MiB + partial blocks 1 MiB - zeros 0 B
       = absorbed 30 MiB + dropped 1 MiB + destaged 60 MiB + more in the log 10 MiB
EFFICIENCY 9.5: 19.00 s of a disk's time if sent as is, 2.00 s as sent (a seek takes 8 ms, 150 MB/s)
VERIFIED log 7 bytes seen, 7 to 8 counted
note: odd

`
	if got := destageScreen(doc); got != want {
		t.Errorf("got:\n%s", got)
	}
}

func TestVerified(t *testing.T) {
	if err := verified(&control.VerifyResult{OK: true}); err != nil {
		t.Error(err)
	}
	err := verified(&control.VerifyResult{Limit: 0.01, Classes: []control.VerifyClass{
		{Class: "log", Off: 0.001}, {Class: "data", Seen: 5, Least: 9, Most: 10, Off: 0.4},
	}})
	e := control.ErrorOf(err)
	if e.ExitCode() != 5 || !strings.Contains(e.Message, "data") || e.Next == "" {
		t.Errorf("%+v", e)
	}
}
