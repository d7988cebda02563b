package vmtest

import (
	"bufio"
	"cmp"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"unblend/tools/internal/vm"
)

//go:embed testdata/kvm/initramfs
var kvmInitramfs []byte

//go:embed testdata/kvm/init
var kvmInit []byte

const (
	kvmVolume = "128M"
	kvmRounds = 15              // that the guest must finish before and after each kill
	kvmKills  = 2               // of the daemon while the guest runs
	kvmWithin = 3 * time.Minute // for anything that the guest does
)

// TestKVMGuest boots a real KVM guest whose root file system is a volume, in a machine that emulates
// the virtualization of an AMD processor. The guest writes files all the time; the daemon under it
// is killed and started again. Then the guest is told to power off; its file system must be clean
// and every file must have the checksum that the guest saw.
func TestKVMGuest(t *testing.T) {
	if !inGuest() {
		cfg := machine(t, "")
		cfg.SVM = true
		k, err := vm.Find(t.Context(), cmp.Or(cfg.Kernel, vm.DefaultKernel), false, cfg.Log)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Env = append(cfg.Env, "UNBLEND_VM_IMAGE="+k.Image())
		run(t, cfg)
		return
	}
	g := newGuest(t)
	g.sh("modprobe kvm-amd")
	p := g.nullPool()
	g.format(p)
	d := g.serve(p)
	path := g.create("vmroot", kvmVolume)
	dir := t.TempDir()
	g.sh(fmt.Sprintf("mkfs.ext4 -q -d %s %s", g.kvmRoot(dir), path))
	k := g.bootKVM(dir, path)
	k.rounds(kvmRounds)
	for range kvmKills {
		d.Kill()
		time.Sleep(time.Second)
		d = g.serve(p)
		k.rounds(kvmRounds)
	}
	pause := k.pause()
	sums := k.powerOff()
	g.Logf("the guest wrote %d files anew, its longest pause was %.1f s", k.count(), pause.Seconds())
	g.sameFiles(path, sums)
	g.wellServed()
	g.stop(d)
	g.check(p)
}

// kvmRoot lays out the guest's root file system and returns its directory.
func (g *guest) kvmRoot(dir string) string {
	g.Helper()
	root := filepath.Join(dir, "root")
	g.sh(fmt.Sprintf("mkdir -p %s/{bin,dev,proc,sys,run,data} && cp /bin/busybox %[1]s/bin", root))
	if err := os.WriteFile(filepath.Join(root, "init"), kvmInit, 0o755); err != nil {
		g.Fatal(err)
	}
	return root
}

// kvmInitrd makes the guest's initramfs and returns its path.
func (g *guest) kvmInitrd(dir string) string {
	g.Helper()
	tree := filepath.Join(dir, "initramfs")
	g.sh(fmt.Sprintf("mkdir -p %s/{bin,dev,proc,root,modules} && cp /bin/busybox %[1]s/bin", tree))
	if err := os.WriteFile(filepath.Join(tree, "init"), kvmInitramfs, 0o755); err != nil {
		g.Fatal(err)
	}
	// modprobe -D lists a module after what it depends on.
	g.sh(fmt.Sprintf(`set -e; cd %s/modules; i=0
		for m in $(for n in virtio_blk crc32c ext4; do modprobe -D $n; done |
			awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
			i=$((i + 1)); case $m in
			*.xz) xz -dc $m >$i.ko ;;
			*) cp $m $i.ko ;;
			esac; echo /modules/$i.ko >>order
		done
		cd ..; find . | busybox cpio -o -H newc 2>/dev/null >%s.cpio`, tree, tree))
	return tree + ".cpio"
}

// kvmGuest is a running guest and what it said on its console.
type kvmGuest struct {
	g     *guest
	cmd   *exec.Cmd
	input io.WriteCloser
	ended chan error

	mu      sync.Mutex // guards what follows
	lines   []string
	done    int // rounds
	last    time.Time
	longest time.Duration // between two rounds
}

// bootKVM starts the guest on the volume at path.
func (g *guest) bootKVM(dir, path string) *kvmGuest {
	g.Helper()
	k := &kvmGuest{g: g, ended: make(chan error, 1)}
	k.cmd = exec.Command("qemu-system-x86_64", "-enable-kvm", "-cpu", "qemu64", "-m", "512",
		"-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", os.Getenv("UNBLEND_VM_IMAGE"), "-initrd", g.kvmInitrd(dir),
		"-append", "console=ttyS0 quiet panic=-1",
		"-drive", "if=none,id=root,format=raw,cache=none,aio=native,discard=unmap,file="+path,
		"-device", "virtio-blk-pci,drive=root")
	var err error
	if k.input, err = k.cmd.StdinPipe(); err != nil {
		g.Fatal(err)
	}
	output, err := k.cmd.StdoutPipe()
	if err != nil {
		g.Fatal(err)
	}
	k.cmd.Stderr = k.cmd.Stdout
	if err := k.cmd.Start(); err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { k.cmd.Process.Kill() })
	go func() {
		for s := bufio.NewScanner(output); s.Scan(); {
			k.said(strings.TrimSpace(s.Text()))
		}
		k.ended <- k.cmd.Wait()
	}()
	g.eventually("the guest is up", kvmWithin, func() bool { return k.find("guest: up") != "" })
	g.Log(k.find("guest: up"))
	return k
}

// said takes a line of the console.
func (k *kvmGuest) said(line string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !strings.HasPrefix(line, "guest: round") {
		k.lines = append(k.lines, line)
		return
	}
	now := time.Now()
	if k.done++; k.done > 1 {
		k.longest = max(k.longest, now.Sub(k.last))
	}
	k.last = now
}

// find returns the first line that contains text.
func (k *kvmGuest) find(text string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.lines {
		if strings.Contains(l, text) {
			return l
		}
	}
	return ""
}

func (k *kvmGuest) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.done
}

// pause returns the longest time between two rounds.
func (k *kvmGuest) pause() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.longest
}

// rounds waits until the guest has finished n more rounds.
func (k *kvmGuest) rounds(n int) {
	k.g.Helper()
	want := k.count() + n
	k.g.eventually(fmt.Sprintf("the guest does %d rounds", n), kvmWithin, func() bool {
		return k.count() >= want
	})
}

// kvmSum is how the guest reports a file.
var kvmSum = regexp.MustCompile(`^guest: sum ([0-9a-f]{64})  /(data/\d+)$`)

// powerOff tells the guest to end, waits for it, and returns the checksums of its files by name.
func (k *kvmGuest) powerOff() map[string]string {
	k.g.Helper()
	if _, err := io.WriteString(k.input, "off\n"); err != nil {
		k.g.Fatal(err)
	}
	select {
	case err := <-k.ended:
		if err != nil {
			k.g.Errorf("the guest's emulator: %v", err)
		}
	case <-time.After(kvmWithin):
		k.g.Fatalf("the guest does not end; it said:\n%s", strings.Join(k.lines, "\n"))
	}
	if k.find("guest: failed") != "" || k.find("guest: off") == "" {
		k.g.Errorf("the guest did not end well; it said:\n%s", strings.Join(k.lines, "\n"))
	}
	sums := map[string]string{}
	for _, l := range k.lines {
		if m := kvmSum.FindStringSubmatch(l); m != nil {
			sums[m[2]] = m[1]
		}
	}
	if len(sums) < kvmRounds {
		k.g.Errorf("the guest reported %d files; it said:\n%s", len(sums),
			strings.Join(k.lines, "\n"))
	}
	return sums
}

// sameFiles checks the file system that the guest left and compares its files.
func (g *guest) sameFiles(path string, sums map[string]string) {
	g.Helper()
	if state := g.sh("dumpe2fs -h " + path + " 2>/dev/null"); !strings.Contains(state,
		"Filesystem state:         clean") || strings.Contains(state, "needs_recovery") {
		g.Errorf("the guest left its file system so:\n%s", state)
	}
	g.sh("e2fsck -fn " + path)
	dir := g.TempDir()
	g.sh(fmt.Sprintf("mount -o ro %s %s", path, dir))
	defer g.sh("umount " + dir)
	for name, want := range sums {
		got := g.sh(fmt.Sprintf("sha256sum <%s/%s", dir, name))
		if got = strings.TrimSuffix(got, "  -"); got != want {
			g.Errorf("%s has checksum %s, the guest saw %s", name, got, want)
		}
	}
	g.Logf("file system clean, %d files with the guest's checksums", len(sums))
}
