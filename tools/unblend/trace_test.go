package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"unblend/tools/internal/control"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// reports decodes what trace blend --json printed: one document in a line.
func reports(t *testing.T, out string) []control.TraceBlend {
	t.Helper()
	var all []control.TraceBlend
	for line := range strings.Lines(out) {
		var doc control.TraceBlend
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if doc.Schema != control.SchemaTraceBlend || doc.Seconds <= 0 {
			t.Errorf("%s", line)
		}
		all = append(all, doc)
	}
	return all
}

// TestTraceBlend runs the view on this kernel, beside a daemon whose volumes have no devices here.
func TestTraceBlend(t *testing.T) {
	needRoot(t)
	socket, _ := serveFake(t)
	code, out, complaint := call(t.Context(), "trace", "blend", "0.2s", "3", "--json", "--socket", socket)
	if docs := reports(t, out); code != 0 || len(docs) != 3 || complaint != "" {
		t.Errorf("exit code %d, %d reports, %q", code, len(docs), complaint)
	}
	code, out, _ = call(t.Context(), "trace", "blend", "--seconds", "0.3s", "--socket", socket)
	if code != 0 || strings.Count(out, "STREAM") != 1 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// TestTraceRecord records on this kernel, beside a daemon whose volumes have no devices here.
func TestTraceRecord(t *testing.T) {
	needRoot(t)
	socket, _ := serveFake(t)
	file := filepath.Join(t.TempDir(), "t")
	code, out, complaint := call(t.Context(), "trace", "record", file, "--seconds", "0.3s", "--json",
		"--socket", socket)
	var end control.TraceEventsEnd
	if err := json.Unmarshal([]byte(out), &end); err != nil || code != 0 || end.File != file ||
		end.Seconds < 0.3 || end.Events != 0 || complaint != "unblend: recording for 300 ms to "+file+"\n" {
		t.Errorf("exit code %d, %v, %s%s", code, err, out, complaint)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for _, err := os.Stat(file); err != nil && t.Context().Err() == nil; _, err = os.Stat(file) {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	code, out, _ = call(ctx, "trace", "record", file, "--socket", socket)
	if code != control.ExitInterrupted || !strings.Contains(out, "0 requests in ") {
		t.Errorf("interrupted: exit code %d, %s", code, out)
	}
	code, _, complaint = call(t.Context(), "trace", "plot", file)
	if code != exitUsage || !strings.Contains(complaint, "no guest wrote") {
		t.Errorf("the picture of nothing: exit code %d, %s", code, complaint)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	code, out, _ = call(t.Context(), "trace", "events", "--seconds", "0.2s", "--json", "--socket", socket)
	if code != 0 || strings.Count(out, "\n") != strings.Count(string(text), "\n") {
		t.Errorf("exit code %d: trace events prints\n%swhere trace record writes\n%s", code, out, text)
	}
	code, out, _ = call(t.Context(), "trace", "events", "--seconds", "0.2s", "--socket", socket)
	if code != 0 || !strings.Contains(out, "DONE AT") || !strings.Contains(out, "0 dropped") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestEventLine(t *testing.T) {
	e := control.TraceEvent{
		At: 1e9, Kind: "volume", Name: "web1", Op: "write", Offset: 4096, Bytes: 8192, Queue: 1000, Device: 5e8,
	}
	const want = "  1.500000 s  web1              write                    4096       8 KiB" +
		"      1 us    500 ms\n"
	if got := eventLine(e); got != want {
		t.Errorf("got  %qwant %q", got, want)
	}
	e.Kind, e.Name, e.Failed = "data", "\x1b[2J", true
	got := eventLine(e)
	if !strings.Contains(got, "  data on ?[2J  ") || !strings.HasSuffix(got, "  failed\n") {
		t.Errorf("got %q", got)
	}
}

// TestTraceInterrupted: what was counted is printed nevertheless.
func TestTraceInterrupted(t *testing.T) {
	needRoot(t)
	socket, _ := serveFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(2*time.Second, cancel)
	code, out, complaint := call(ctx, "trace", "blend", "--json", "--socket", socket)
	if code != control.ExitInterrupted || len(reports(t, out)) != 1 ||
		complaint != "unblend: tracing until interrupted\nunblend: interrupted\n" {
		t.Errorf("exit code %d, %q, %q", code, out, complaint)
	}
}

// TestTraceWithoutCapability: root without CAP_BPF, as in a container, is told so.
func TestTraceWithoutCapability(t *testing.T) {
	needRoot(t)
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("needs setpriv of util-linux")
	}
	socket, _ := serveFake(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, view := range []string{"blend 1 1", "latency 1 1", "events", "record /dev/null"} {
		args := []string{"--bounding-set", "-bpf,-perfmon,-sys_admin", "--inh-caps", "-all", self, "trace"}
		args = append(append(args, strings.Fields(view)...), "--socket", socket)
		cmd := exec.Command(setpriv, args...)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		cmd.Env = append(os.Environ(), envMain+"=1")
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != exitLacks || !strings.Contains(complaint.String(), "CAP_BPF") {
			t.Errorf("%s: %v: %s", view, err, complaint.String())
		}
	}
}

// stream returns a stream for the screen.
func stream(
	kind, name string, writes uint64, sequential float64, seeks uint64, added int64,
) control.TraceStream {
	s := control.TraceStream{
		Kind: kind, Name: name, Writes: writes, Bytes: writes * 4096, Sequential: sequential, Seeks: seeks,
		SeekRate: float64(seeks) * 256 / float64(max(1, writes)), MeanRun: writes * 4096 / max(1, seeks),
		MedianSeek: 4 << 20,
	}
	if kind == control.StreamVolume && writes > 0 {
		s.Without = &control.WithoutVolume{Added: added}
	}
	return s
}

func TestBlendScreen(t *testing.T) {
	doc := control.TraceBlend{
		Seconds: 10, Volumes: 3, EventsLost: 2,
		Streams: []control.TraceStream{
			stream(control.StreamVolume, "db1", 24000, 0.11, 21360, 700),
			stream(control.StreamVolume, "idle", 0, 0, 0, 0),
			stream(control.StreamVolume, "web1", 8120, 0.94, 487, 7000),
			stream(control.StreamMerged, "", 32120, 0.09, 29200, 0),
			stream(control.StreamLog, "", 700, 1, 0, 0),
			stream(control.StreamData, "", 28, 0.02, 27, 0),
			stream(control.StreamMetadata, "", 0, 0, 0, 0),
			stream(control.StreamOther, "", 0, 0, 0, 0),
			stream(control.StreamDevice, "nvme0n1", 700, 1, 0, 0),
			stream(control.StreamDevice, "sda", 28, 0.02, 27, 0),
		},
		Blend: control.BlendFigures{
			Index: 0.23, Own: 0.32, Merged: 0.09, Log: 1, Recovered: 0.91, SeeksAsIs: 29200, SeeksSent: 27,
			Avoided: 1081.5, SentKnown: true,
		},
		Notes: []string{"something\nis \x1b[31modd"},
	}
	doc.Streams[0].Reads, doc.Streams[0].ReadBytes = 120, 120*4096
	const want = `10.0 s, 3 volumes, pool on nvme0n1 and sda, writes only, 2 events lost
STREAM           IOPS  MiB/s  SEQ %       RUN  SEEKS/MiB  MEDIAN  ADDS/s
web1              812    3.2     94  66.7 KiB         15   4 MiB     700
db1              2400    9.4     11  4.49 KiB        228   4 MiB      70
merged, if sent  3212   12.5      9   4.4 KiB        233   4 MiB
sent: log          70    0.3    100  2.73 MiB          0       -
sent: destage     2.8    0.0      2  4.15 KiB        247   4 MiB
sent: metadata      0    0.0      -         -          -       -
1 volume wrote nothing
reads: of the volumes shown 12/s, 0.0 MiB/s; of the pool's devices 0/s, 0.0 MiB/s
BLEND 0.23 (volumes 32 % sequential on their own -> 9 % merged), RECOVERED 0.91 (log 100 %)
SEEKS 2920/s if sent as is -> 2.7/s sent, 1082 times fewer (log, destage, metadata, ways between)
merged: as if one disk held all volumes end to end; computed, not measured
note: something; is ?[31modd

`
	if got := blendScreen(doc); got != want {
		t.Errorf("got:\n%s", got)
	}
	doc.Blend.SentKnown = false
	if got := blendScreen(doc); strings.Contains(got, "sent:") || strings.Contains(got, "/s sent") {
		t.Errorf("what was sent is not known:\n%s", got)
	}
	for range 30 {
		doc.Streams = append(doc.Streams, stream(control.StreamVolume, "x", 1, 0, 0, 0))
	}
	if got := blendScreen(doc); !strings.Contains(got, "8 volumes less noisy not shown") {
		t.Errorf("of 32 volumes:\n%s", got)
	}
}
