package vmtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// fioJob is one run of fio on several disks: reads and writes of 512 bytes to 256 KiB in the first
// three quarters of each, every block of it verified, and trims in the rest.
type fioJob struct {
	disks   []string // paths
	size    int      // of each, MiB
	seconds int
}

// fioResult is what matters of fio's report.
type fioResult struct {
	Jobs []struct {
		Name  string  `json:"jobname"`
		Error int     `json:"error"`
		Read  fioSide `json:"read"`
		Write fioSide `json:"write"`
		Trim  fioSide `json:"trim"`
	} `json:"jobs"`
}

type fioSide struct {
	Bytes   int64   `json:"io_bytes"`
	Ops     int64   `json:"total_ios"`
	IOPS    float64 `json:"iops"`
	Latency struct {
		Max int64 `json:"max"` // ns
	} `json:"lat_ns"`
}

// errors returns the sum of the jobs' errors.
func (r fioResult) errors() (n int) {
	for _, j := range r.Jobs {
		n += j.Error
	}
	return n
}

// written returns how many bytes were written.
func (r fioResult) written() (n int64) {
	for _, j := range r.Jobs {
		n += j.Write.Bytes
	}
	return n
}

// longest returns the longest time that a request took.
func (r fioResult) longest() (d time.Duration) {
	for _, j := range r.Jobs {
		for _, s := range []fioSide{j.Read, j.Write, j.Trim} {
			d = max(d, time.Duration(s.Latency.Max))
		}
	}
	return d
}

func (r fioResult) String() string {
	var s strings.Builder
	for _, j := range r.Jobs {
		fmt.Fprintf(&s, "%s: read %d MiB, %.0f/s; write %d MiB, %.0f/s; trims %d, longest %v; error %d\n",
			j.Name, j.Read.Bytes>>20, j.Read.IOPS, j.Write.Bytes>>20, j.Write.IOPS,
			j.Trim.Ops,
			time.Duration(j.Trim.Latency.Max), j.Error)
	}
	return s.String()
}

// fioRun is a fio under way.
type fioRun struct {
	g    *guest
	cmd  *exec.Cmd
	out  string
	done chan error
}

// startFio starts a run.
func (g *guest) startFio(j fioJob) *fioRun {
	g.Helper()
	lines := []string{
		"[global]", "direct=1", "ioengine=libaio", "iodepth=16", "bsrange=512-256k", "randseed=7",
		"time_based=1", fmt.Sprintf("runtime=%d", j.seconds),
	}
	for _, d := range j.disks {
		lines = append(lines,
			"[write]", "filename="+d, fmt.Sprintf("size=%dm", j.size*3/4), "rw=randrw",
			"rwmixread=30", "fsync=64", "verify=crc32c", "verify_fatal=1", "verify_backlog=512",
			"[trim]", "filename="+d, fmt.Sprintf("offset=%dm", j.size*3/4),
			fmt.Sprintf("size=%dm", j.size/4), "rw=randtrim", "thinktime=20000", "iodepth=1")
	}
	return g.fio(lines)
}

// fio starts fio on a job file of these lines.
func (g *guest) fio(lines []string) *fioRun {
	g.Helper()
	dir := g.TempDir()
	job := filepath.Join(dir, "job")
	if err := os.WriteFile(job, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		g.Fatal(err)
	}
	r := &fioRun{g: g, out: filepath.Join(dir, "report"), done: make(chan error, 1)}
	r.cmd = exec.Command("fio", "--output-format=json", "--output="+r.out, job)
	r.cmd.Dir = dir
	var complaints strings.Builder
	r.cmd.Stdout, r.cmd.Stderr = &complaints, &complaints
	if err := r.cmd.Start(); err != nil {
		g.Fatal(err)
	}
	go func() {
		err := r.cmd.Wait()
		if err != nil {
			err = fmt.Errorf("fio: %w: %s", err, complaints.String())
		}
		r.done <- err
	}()
	return r
}

// running reports whether the run has not yet ended.
func (r *fioRun) running() bool { return len(r.done) == 0 }

// wait waits for the run's end, which must be a good one.
func (r *fioRun) wait() fioResult {
	r.g.Helper()
	err := <-r.done
	text, readErr := os.ReadFile(r.out)
	if err != nil || readErr != nil {
		r.g.Fatalf("%v, %v\n%s", err, readErr, text)
	}
	var res fioResult
	// fio prints warnings before the document.
	if i := strings.IndexByte(string(text), '{'); i > 0 {
		text = text[i:]
	}
	if err := json.Unmarshal(text, &res); err != nil {
		r.g.Fatalf("fio's report: %v\n%s", err, text)
	}
	if n := res.errors(); n != 0 {
		r.g.Errorf("fio: %d errors", n)
	}
	r.g.Log(res)
	return res
}
