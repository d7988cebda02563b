package bench

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"unblend/tools/internal/device"
)

// TestCheckSpare: what holds data is refused and stays as it is, and so is what is no disk.
func TestCheckSpare(t *testing.T) {
	dir := t.TempDir()
	ext4 := make([]byte, 1<<20)
	ext4[1024+56], ext4[1024+57] = 0x53, 0xef
	held, empty := filepath.Join(dir, "held"), filepath.Join(dir, "empty")
	for path, content := range map[string][]byte{held: ext4, empty: make([]byte, 1<<20)} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := CheckSpare(held, 64*MiB); !errors.Is(err, device.ErrHoldsData) ||
		!strings.Contains(err.Error(), "wipefs -a "+held) {
		t.Errorf("a file system: %v", err)
	}
	if text, err := os.ReadFile(held); err != nil || string(text) != string(ext4) {
		t.Errorf("the file was changed, or %v", err)
	}
	if _, err := CheckSpare(empty, 64*MiB); err == nil || !strings.Contains(err.Error(), "not a block device") {
		t.Errorf("a file: %v", err)
	}
	if _, err := CheckSpare(filepath.Join(dir, "none"), 64*MiB); !errors.Is(err, device.ErrNoDevice) {
		t.Errorf("nothing: %v", err)
	}
}

// TestRoom: the partitions fit what is needed, and hold what the cells put there.
func TestRoom(t *testing.T) {
	for _, total := range []int64{64 * MiB, 128 * MiB, 2048 * MiB} {
		sizes := partSizes(total)
		if Needed(total) < first+sizes[0]+sizes[1]+sizes[2] {
			t.Errorf("%d: %d is too little", total, Needed(total))
		}
		if sizes[partRival-1] < (fading+3)*total || sizes[partPool-1] < logSize(total, false)+2*fading*total {
			t.Errorf("%d: %v", total, sizes)
		}
	}
	b := &bed{device: "/dev/nvme0n1"}
	if got := b.part(2); got != "/dev/nvme0n1p2" {
		t.Error(got)
	}
	if b.device = "/dev/sdb"; b.part(2) != "/dev/sdb2" {
		t.Error(b.part(2))
	}
}
