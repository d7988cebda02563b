package device

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// newHost builds a small /proc and /sys: disk 8:16 "sdb" with a partition 8:17, dm-3 on that.
func newHost(t *testing.T, files map[string]string) host {
	t.Helper()
	root := t.TempDir()
	disk := "sys/devices/pci/block/sdb"
	all := map[string]string{
		disk + "/dev":                           "8:16\n",
		disk + "/size":                          "2097152\n",
		disk + "/ro":                            "0\n",
		disk + "/queue/logical_block_size":      "512\n",
		disk + "/queue/physical_block_size":     "4096\n",
		disk + "/queue/max_sectors_kb":          "640\n",
		disk + "/queue/max_segments":            "168\n",
		disk + "/queue/rotational":              "1\n",
		disk + "/queue/fua":                     "1\n",
		disk + "/queue/write_cache":             "write back\n",
		disk + "/device/model":                  "SPINNER 9000   \n",
		disk + "/sdb1/partition":                "1\n",
		disk + "/sdb1/dev":                      "8:17\n",
		disk + "/sdb1/size":                     "1048576\n",
		disk + "/sdb1/ro":                       "0\n",
		disk + "/sdb1/holders/dm-3/placeholder": "",
		"sys/block/dm-3/dm/name":                "vg-home\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	links := filepath.Join(root, "sys/dev/block")
	if err := os.MkdirAll(links, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"8:16": disk, "8:17": disk + "/sdb1"} {
		if err := os.Symlink(filepath.Join(root, target), filepath.Join(links, name)); err != nil {
			t.Fatal(err)
		}
	}
	return host{proc: filepath.Join(root, "proc"), sys: filepath.Join(root, "sys"), dev: "/dev"}
}

func TestQueueProperties(t *testing.T) {
	h := newHost(t, nil)
	disk := Info{Kind: BlockDevice}
	h.readQueue(&disk, unix.Mkdev(8, 16))
	if disk.Size != 1<<30 || disk.LogicalBlock != 512 || disk.PhysicalBlock != 4096 ||
		disk.MaxBlocks != 160 || !disk.Rotational || !disk.FUA || !disk.VolatileCache || disk.Partition ||
		!slices.Equal(disk.Partitions, []string{"sdb1"}) || disk.Model != "SPINNER 9000" {
		t.Errorf("disk: %+v", disk)
	}
	part := Info{Kind: BlockDevice}
	h.readQueue(&part, unix.Mkdev(8, 17))
	if part.Size != 512<<20 || part.MaxBlocks != 160 || !part.Partition || !part.Rotational ||
		part.Partitions != nil {
		t.Errorf("partition: %+v", part)
	}
	for _, c := range []struct {
		kb, segments string
		want         int
	}{
		{"128", "127", 32}, {"1280", "128", 128}, {"8192", "1024", 256}, {"512", "", 128}, {"", "", 0},
	} {
		h := newHost(t, map[string]string{
			"sys/devices/pci/block/sdb/queue/max_sectors_kb": c.kb,
			"sys/devices/pci/block/sdb/queue/max_segments":   c.segments,
		})
		h.readQueue(&disk, unix.Mkdev(8, 16))
		if disk.MaxBlocks != c.want {
			t.Errorf("%q KiB, %q segments: %d blocks, want %d",
				c.kb, c.segments, disk.MaxBlocks, c.want)
		}
	}
	if disk.Node != -1 {
		t.Errorf("a node that nobody names: %d", disk.Node)
	}
	h = newHost(t, map[string]string{"sys/devices/pci/numa_node": "1\n"})
	if h.readQueue(&part, unix.Mkdev(8, 17)); part.Node != 1 {
		t.Errorf("node %d, want 1: the controller's", part.Node)
	}
	none := Info{Kind: RegularFile}
	h.readQueue(&none, unix.Mkdev(0, 40))
	if none.Rotational || none.LogicalBlock != 0 {
		t.Errorf("a file system without a disk: %+v", none)
	}
}

func TestUsage(t *testing.T) {
	disk, part := id{BlockDevice, unix.Mkdev(8, 16), 0}, id{BlockDevice, unix.Mkdev(8, 17), 0}
	h := newHost(t, map[string]string{
		"proc/self/mountinfo": "garbage\n" +
			"21 1 0:20 / /proc rw - proc proc rw\n" +
			`30 1 8:17 / /srv/a\040b rw,relatime shared:1 - ext4 /dev/nothere rw` + "\n" +
			"31 1 8:17 /sub /srv/c rw - ext4 /dev/nothere rw\n",
	})
	want := []string{"mounted on /srv/a b", "mounted on /srv/c", "held by dm-3 (vg-home)"}
	if got := h.usage(part); !slices.Equal(got, want) {
		t.Errorf("partition: %q, want %q", got, want)
	}
	for i := range want {
		want[i] = "partition sdb1 " + want[i]
	}
	if got := h.usage(disk); !slices.Equal(got, want) {
		t.Errorf("disk: %q, want %q", got, want)
	}
	if got := h.usage(id{BlockDevice, unix.Mkdev(9, 9), 0}); len(got) != 0 {
		t.Errorf("another disk: %q", got)
	}
}

func TestUsageOfFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, nil)
	_, x, err := h.stat(path)
	if err != nil || h.usage(x) != nil {
		t.Fatalf("a file that nobody uses: %q, %v", h.usage(x), err)
	}
	h = newHost(t, map[string]string{
		"proc/swaps": "Filename Type Size Used Priority\n" +
			filepath.Dir(path) + `/a\040file file 8 0 -2` + "\n",
		"sys/block/loop4/loop/backing_file": path + "\n",
		"sys/block/loop5/loop/backing_file": "/no/such/file\n",
	})
	if got := h.usage(x); !slices.Equal(got, []string{"used as swap", "behind /dev/loop4"}) {
		t.Errorf("usage: %q", got)
	}
}

func TestContainedPartition(t *testing.T) {
	h := newHost(t, nil)
	family := h.family(unix.Mkdev(8, 16))
	if !slices.Equal(family, []uint64{unix.Mkdev(8, 16), unix.Mkdev(8, 17)}) {
		t.Errorf("disk and partitions: %v", family)
	}
	if got := h.family(unix.Mkdev(8, 17)); len(got) != 1 {
		t.Errorf("partition: %v", got)
	}
}

// TestOpeners has another process hold a file, and init refuse it for that.
func TestOpeners(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("sleep is not installed")
	}
	path := filepath.Join(t.TempDir(), "held")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(sleep, "60")
	child.ExtraFiles = []*os.File{f}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	got, err := Openers(path)
	if err != nil || len(got) != 1 || got[0].PID != child.Process.Pid || !got[0].Writes {
		t.Errorf("openers: %+v, %v", got, err)
	}
	if _, err := OpenForInit(path, InitOptions{Force: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("init of a file that another process writes: %v", err)
	}
	if err := errors.Join(child.Process.Kill(), ignore(child.Wait())); err != nil {
		t.Error(err)
	}
	if got, err := Openers(path); err != nil || len(got) != 0 {
		t.Errorf("openers after the process: %+v, %v", got, err)
	}
}

// ignore drops the error of waiting for a killed process.
func ignore(error) error { return nil }

func TestGuestName(t *testing.T) {
	for cmdline, want := range map[string]string{
		"/usr/bin/qemu-system-x86_64\x00-name\x00guest=web1,debug-threads=on\x00-S\x00": "web1",
		"/usr/bin/kvm\x00-id\x00100\x00-name\x00db1,debug-threads=on\x00":               "db1",
		"/usr/bin/qemu-system-x86_64\x00-name\x00":                                      "",
		"/usr/bin/qemu-system-x86_64\x00":                                               "",
		"/bin/other\x00-name\x00web1\x00":                                               "",
		"":                                                                              "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "cmdline"), []byte(cmdline), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := guestName(dir); got != want {
			t.Errorf("guestName(%q) = %q, want %q", cmdline, got, want)
		}
	}
	o := Opener{PID: 4121, Command: "qemu", VM: "web1"}
	if o.String() != "qemu (pid 4121, vm web1)" {
		t.Errorf("opener prints as %q", o)
	}
}
