package vmbench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// fioResult is what matters of fio's report, over all its jobs; percentiles are the first's.
type fioResult struct {
	iops     float64
	writes   uint64
	p50, p99 int64 // completion latency, ns
}

// fioWrite writes 4 KiB blocks at random places of all paths at once, depth at a time on each.
func fioWrite(paths []string, depth int, length time.Duration) (fioResult, error) {
	return fioRandom(paths, depth, "--rw=randwrite", "--time_based",
		fmt.Sprintf("--runtime=%dms", length.Milliseconds()))
}

// fioRandom does what more arguments say with 4 KiB blocks at random places of all paths at once,
// depth at a time on each.
func fioRandom(paths []string, depth int, more ...string) (fioResult, error) {
	args := append([]string{
		"--direct=1", "--bs=4k", "--ioengine=libaio", "--norandommap",
		fmt.Sprintf("--iodepth=%d", depth), "--output-format=json",
	}, more...)
	for i, p := range paths {
		args = append(args, fmt.Sprintf("--name=disk%d", i), "--filename="+p)
	}
	out, err := exec.Command("fio", args...).CombinedOutput()
	if err != nil {
		return fioResult{}, fmt.Errorf("fio: %w: %s", err, out)
	}
	return parseFio(out)
}

// parseFio reads fio's report, before which it may have said something.
func parseFio(out []byte) (fioResult, error) {
	type side struct {
		IOPS  float64 `json:"iops"`
		Total uint64  `json:"total_ios"`
		Clat  struct {
			Percentile map[string]int64 `json:"percentile"`
		} `json:"clat_ns"`
	}
	var doc struct {
		Jobs []struct {
			Error int
			Read  side `json:"read"`
			Write side `json:"write"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(out[max(bytes.IndexByte(out, '{'), 0):], &doc); err != nil {
		return fioResult{}, fmt.Errorf("fio's report: %w", err)
	}
	if len(doc.Jobs) == 0 {
		return fioResult{}, errors.New("fio's report holds no job")
	}
	var r fioResult
	for i, j := range doc.Jobs {
		if j.Error != 0 {
			return r, fmt.Errorf("fio: job %d ended with error %d", i, j.Error)
		}
		r.iops += j.Read.IOPS + j.Write.IOPS
		r.writes += j.Write.Total
	}
	first := doc.Jobs[0].Write.Clat.Percentile
	if doc.Jobs[0].Write.Total == 0 {
		first = doc.Jobs[0].Read.Clat.Percentile
	}
	r.p50, r.p99 = first["50.000000"], first["99.000000"]
	return r, nil
}

// fill writes every block of a device once, so that no figure depends on what was there.
func fill(path string) error {
	out, err := exec.Command("fio", "--name=fill", "--filename="+path, "--direct=1", "--rw=write",
		"--bs=256k", "--ioengine=libaio", "--iodepth=4").CombinedOutput()
	if err != nil {
		return fmt.Errorf("fill %s: %w: %s", path, err, out)
	}
	return nil
}

// sh runs a shell command and returns what it printed.
func sh(format string, args ...any) (string, error) {
	command := fmt.Sprintf(format, args...)
	out, err := exec.Command("bash", "-c", command).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
