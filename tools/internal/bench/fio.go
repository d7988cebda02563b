package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Disk is a part of a block device that a guest would have as its disk.
type Disk struct {
	Path      string
	Off, Size int64 // bytes; Size 0: to its end
}

// Paths returns whole devices.
func Paths(paths ...string) []Disk {
	d := make([]Disk, len(paths))
	for i, p := range paths {
		d[i].Path = p
	}
	return d
}

// Figures is what matters of fio's report, over all its jobs; percentiles are the first's.
type Figures struct {
	IOPS   float64 `json:"iops"`
	Bytes  float64 `json:"bytes_per_second"`
	Writes uint64  `json:"writes"`
	P50    int64   `json:"p50_ns"` // completion latency
	P99    int64   `json:"p99_ns"`
}

// For returns fio's arguments that end a run after some time, however often that needs all of the disk;
// without the first, it ends before that when all of the disk was done.
func For(d time.Duration) []string {
	return []string{"--time_based", fmt.Sprintf("--runtime=%dms", d.Milliseconds())}
}

// Fio does what the arguments say on all disks at once.
func Fio(ctx context.Context, disks []Disk, args ...string) (Figures, error) {
	all := append([]string{"--direct=1", "--ioengine=libaio", "--thread", "--output-format=json"}, args...)
	for i, d := range disks {
		all = append(all, fmt.Sprintf("--name=disk%d", i), "--filename="+d.Path)
		if d.Size > 0 {
			all = append(all, fmt.Sprintf("--offset=%d", d.Off), fmt.Sprintf("--size=%d", d.Size))
		}
	}
	out, err := exec.CommandContext(ctx, "fio", all...).CombinedOutput()
	if err != nil {
		return Figures{}, fmt.Errorf("fio: %w: %s", err, bytes.TrimSpace(out))
	}
	return parseFio(out)
}

// parseFio reads fio's report, before which it may have said something.
func parseFio(out []byte) (Figures, error) {
	type side struct {
		IOPS  float64 `json:"iops"`
		Bytes float64 `json:"bw_bytes"`
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
		return Figures{}, fmt.Errorf("fio's report: %w", err)
	}
	if len(doc.Jobs) == 0 {
		return Figures{}, errors.New("fio's report holds no job")
	}
	var f Figures
	for i, j := range doc.Jobs {
		if j.Error != 0 {
			return f, fmt.Errorf("fio: job %d ended with error %d", i, j.Error)
		}
		f.IOPS += j.Read.IOPS + j.Write.IOPS
		f.Bytes += j.Read.Bytes + j.Write.Bytes
		f.Writes += j.Write.Total
	}
	first := doc.Jobs[0].Write.Clat.Percentile
	if doc.Jobs[0].Write.Total == 0 {
		first = doc.Jobs[0].Read.Clat.Percentile
	}
	f.P50, f.P99 = first["50.000000"], first["99.000000"]
	return f, nil
}

// Fill writes every block of the disks once, so that no figure depends on what was there.
func Fill(ctx context.Context, disks []Disk) error {
	if _, err := Fio(ctx, disks, "--rw=write", "--bs=256k", "--iodepth=4"); err != nil {
		return fmt.Errorf("fill %s: %w", disks[0].Path, err)
	}
	return nil
}

// Sh runs a shell command and returns what it printed.
func Sh(ctx context.Context, format string, args ...any) (string, error) {
	command := fmt.Sprintf(format, args...)
	out, err := exec.CommandContext(ctx, "bash", "-c", command).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return strings.TrimSpace(string(out)), nil
}
