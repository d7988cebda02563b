package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// fileSystems are what guests put on their disks: how to make one and how to check it without
// mending anything.
var fileSystems = []struct{ name, mkfs, fsck, options string }{
	{"ext4", "mkfs.ext4 -q", "e2fsck -fn", ""},
	{"xfs", "mkfs.xfs -q", "xfs_repair -n", "nouuid"},
}

// tree is a file system on a volume.
type tree struct {
	g                            *guest
	kind                         int // index of fileSystems
	volume, device, dir, options string
}

// newTree makes a file system on a volume and mounts it.
func (g *guest) newTree(kind int, volume, device string) *tree {
	g.Helper()
	t := g.oldTree(kind, volume, device)
	g.sh(fileSystems[kind].mkfs + " " + device)
	t.mount()
	return t
}

// oldTree returns the file system that is on a volume, not mounted. Its directory goes with the
// machine: a test may end while it is mounted.
func (g *guest) oldTree(kind int, volume, device string) *tree {
	g.Helper()
	dir, err := os.MkdirTemp("", "mnt-")
	if err != nil {
		g.Fatal(err)
	}
	fs := fileSystems[kind]
	g.sh("modprobe " + fs.name)
	return &tree{
		g: g, kind: kind, volume: volume, device: device, dir: dir, options: fs.options,
	}
}

func (t *tree) mount() {
	t.g.Helper()
	t.g.sh(fmt.Sprintf("mount -o discard,%s %s %s", t.options, t.device, t.dir))
}

func (t *tree) unmount() {
	t.g.Helper()
	t.g.sh("umount " + t.dir)
}

// fill copies a tree of small and large files into a directory of the file system, removes half
// of it again, so that the file system discards, and makes what is left durable. It may be called
// by any goroutine.
func (t *tree) fill(name string) {
	t.g.Helper()
	_, err := t.g.try(fmt.Sprintf(`set -e
		mkdir %[1]s; cd %[1]s
		for i in $(seq 24); do head -c $((i * i * 150)) /dev/urandom > f$i; done
		cp -r /etc/apt /etc/init.d .
		head -c 3000000 /dev/urandom > large
		rm f*[13579]
		sync -f .`, filepath.Join(t.dir, name)))
	if err != nil {
		t.g.Error(err)
	}
}

// sum returns a checksum of all files, names included.
func (t *tree) sum() string {
	t.g.Helper()
	return t.g.sh(fmt.Sprintf(
		"cd %s && find . -type f -not -path './lost+found/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum",
		t.dir))
}

// fsck checks the unmounted file system.
func (t *tree) fsck() {
	t.g.Helper()
	t.g.sh(fileSystems[t.kind].fsck + " " + t.device)
}

// same mounts the file system if asked to and compares it with what it was.
func (t *tree) same(want, after string) {
	t.g.Helper()
	if got := t.sum(); got != want {
		t.g.Errorf("%s on %s has changed after %s", fileSystems[t.kind].name, t.volume, after)
	}
}

// TestFileSystems fills an ext4 and an xfs, and finds both unharmed after the volume was detached
// and attached, after an orderly restart of the daemon, and after a kill while they are mounted and
// written.
func TestFileSystems(t *testing.T) {
	if !inGuest() {
		run(t, machine(t, ""))
		return
	}
	g := newGuest(t)
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	trees := make([]*tree, len(fileSystems))
	sums := make([]string, len(trees))
	for i, fs := range fileSystems {
		// xfs takes no less.
		trees[i] = g.newTree(i, fs.name, g.create(fs.name, "320M"))
		trees[i].fill("first")
		sums[i] = trees[i].sum()
	}
	g.step("detach, attach")
	for i, x := range trees {
		g.refused(7, fmt.Sprintf("volume %q is mounted on %s", x.volume, x.dir), "detach", x.volume)
		x.unmount()
		g.do("detach", x.volume)
		g.do("attach", x.volume)
		x.fsck()
		x.mount()
		x.same(sums[i], "detach and attach")
		x.unmount()
	}
	g.step("restart")
	g.stop(d)
	g.nothingIsLeft()
	d = g.serve(p)
	for i, x := range trees {
		x.fsck()
		x.mount()
		x.same(sums[i], "a restart of the daemon")
	}
	g.step("kill while mounted")
	d.Kill()
	d = g.serve(p)
	for i, x := range trees {
		x.same(sums[i], "a kill")
		x.fill("second")
		sums[i] = x.sum()
	}
	g.step("kill while written")
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		for _, x := range trees {
			x.fill("third")
		}
	}()
	for range 2 {
		d.Kill()
		d = g.serve(p)
	}
	<-filled
	g.step("restart while mounted")
	for i, x := range trees {
		sums[i] = x.sum()
	}
	g.stop(d)
	d = g.serve(p)
	for i, x := range trees {
		x.same(sums[i], "a restart while it was mounted")
		x.unmount()
		x.fsck()
		x.mount()
		x.same(sums[i], "a check")
		x.unmount()
	}
	g.wellServed()
	g.stop(d)
	g.nothingIsLeft()
	g.check(p)
}
