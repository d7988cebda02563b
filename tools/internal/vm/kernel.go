package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// suite is the Debian release whose kernels are used: its own is 6.12, its backports hold newer
// ones.
const suite = "trixie"

// Kernel is one kernel in the cache. Its directory holds vmlinuz and lib/modules/RELEASE.
type Kernel struct {
	Release string // as uname -r
	Dir     string
}

// Image returns the path of the kernel to boot.
func (k Kernel) Image() string { return filepath.Join(k.Dir, "vmlinuz") }

// Modules returns the directory of its modules.
func (k Kernel) Modules() string { return filepath.Join(k.Dir, "lib/modules", k.Release) }

// CacheDir returns where kernels are kept: $UNBLEND_VM_CACHE or ~/.cache/unblend/vm.
//
//	CACHE/lock            held while a kernel is looked up or fetched
//	CACHE/names/NAME      the release that the name (6.12, backports, 7.3) stood for when fetched
//	CACHE/kernels/RELEASE see Kernel
//	CACHE/apt/SUITE       apt's lists
func CacheDir() (string, error) {
	if d := os.Getenv("UNBLEND_VM_CACHE"); d != "" {
		return filepath.Abs(d)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("kernel cache: %w", err)
	}
	return filepath.Join(home, ".cache/unblend/vm"), nil
}

// Find returns the kernel that a name stands for: "6.12", "backports" or a series of the backports,
// as in Config.Kernel. A name that is in the cache is answered from there, without the network;
// otherwise, or with renew, the newest kernel of that name is fetched. log is told of a download.
func Find(ctx context.Context, name string, renew bool, log io.Writer) (Kernel, error) {
	cache, err := CacheDir()
	if err != nil {
		return Kernel{}, err
	}
	unlock, err := lockCache(cache)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel cache: %w", err)
	}
	defer unlock()
	pointer := filepath.Join(cache, "names", name)
	if release, err := os.ReadFile(pointer); err == nil && !renew {
		k := kernelIn(cache, string(release))
		if _, err := os.Stat(k.Image()); err == nil {
			return k, nil
		}
	}
	k, err := fetch(ctx, cache, name, log)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel %s: %w", name, err)
	}
	return k, os.WriteFile(pointer, []byte(k.Release), 0o644)
}

func kernelIn(cache, release string) Kernel {
	return Kernel{Release: release, Dir: filepath.Join(cache, "kernels", release)}
}

// lockCache makes the cache's directories and keeps other processes out until unlock.
func lockCache(cache string) (unlock func(), err error) {
	for _, d := range []string{"names", "kernels"} {
		if err := os.MkdirAll(filepath.Join(cache, d), 0o755); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}

// fetch gets the newest kernel of a name into the cache, unless it is there.
func fetch(ctx context.Context, cache, name string, log io.Writer) (Kernel, error) {
	from, series := suite+"-backports", name
	switch name {
	case "6.12":
		from = suite
	case "backports":
		series = ""
	}
	notef(log, "looking for kernel %s in %s", name, from)
	a, err := openArchive(ctx, filepath.Join(cache, "apt", from), from)
	if err != nil {
		return Kernel{}, err
	}
	packages, err := a.search(ctx, `^linux-(image|base|binary|modules)-[0-9].*-amd64$`)
	if err != nil {
		return Kernel{}, err
	}
	release, err := newest(packages, series)
	if err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", from, err)
	}
	k := kernelIn(cache, release)
	if _, err := os.Stat(k.Image()); err == nil {
		return k, nil
	}
	// Newer kernels are spread over several packages: base has the list of what is built in.
	var wanted []string
	for _, part := range []string{
		"linux-image-", "linux-base-", "linux-binary-", "linux-modules-",
	} {
		if slices.Contains(packages, part+release) {
			wanted = append(wanted, part+release)
		}
	}
	notef(log, "fetching %s", strings.Join(wanted, " "))
	return k, install(ctx, a, k, wanted)
}

// imageName matches the packages of the generic flavour: the cloud flavour has no 9p.
var imageName = regexp.MustCompile(`^linux-image-((\d+\.\d+)\.\d+\+deb\d+[.+]?\d*-amd64)$`)

// newest returns the newest release among package names, of one series or of all.
func newest(packages []string, series string) (string, error) {
	best, all := "", ""
	for _, p := range packages {
		m := imageName.FindStringSubmatch(p)
		if m == nil {
			continue
		}
		if older(all, m[1]) {
			all = m[1]
		}
		if (series == "" || series == m[2]) && older(best, m[1]) {
			best = m[1]
		}
	}
	if best == "" {
		return "", fmt.Errorf("it has no kernel of that series; its newest is %q", all)
	}
	return best, nil
}

var digits = regexp.MustCompile(`\d+`)

// older tells whether release a comes before b, comparing the numbers in their versions.
func older(a, b string) bool {
	numbers := func(s string) []int {
		var n []int
		for _, d := range digits.FindAllString(strings.TrimSuffix(s, "-amd64"), -1) {
			v, _ := strconv.Atoi(d)
			n = append(n, v)
		}
		return n
	}
	return slices.Compare(numbers(a), numbers(b)) < 0
}

// install downloads the packages of a kernel and puts it into the cache, all or nothing.
func install(ctx context.Context, a *archive, k Kernel, packages []string) error {
	work := k.Dir + ".partial"
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := a.download(ctx, work, packages); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil {
		return err
	}
	unpacked := filepath.Join(work, "unpacked")
	for _, deb := range debs {
		if err := runTool(ctx, "dpkg-deb", "-x", deb, unpacked); err != nil {
			return err
		}
	}
	ready := filepath.Join(work, "ready")
	if err := arrange(unpacked, ready, k.Release); err != nil {
		return err
	}
	if err := runTool(ctx, "depmod", "-b", ready, k.Release); err != nil {
		return err
	}
	return os.Rename(ready, k.Dir)
}

// arrange moves what is needed of unpacked packages to the places that Kernel describes. Packages
// of 7.2 and later hold everything in usr/lib/modules/RELEASE, older ones use boot and lib.
func arrange(unpacked, ready, release string) error {
	if err := os.MkdirAll(filepath.Join(ready, "lib/modules"), 0o755); err != nil {
		return err
	}
	modules := filepath.Join(ready, "lib/modules", release)
	if err := moveFirst(modules, filepath.Join(unpacked, "usr/lib/modules", release),
		filepath.Join(unpacked, "lib/modules", release)); err != nil {
		return err
	}
	return moveFirst(filepath.Join(ready, "vmlinuz"), filepath.Join(modules, "vmlinuz"),
		filepath.Join(unpacked, "boot/vmlinuz-"+release))
}

// moveFirst moves the first of the candidates that exists.
func moveFirst(to string, candidates ...string) error {
	for _, c := range candidates {
		if err := os.Rename(c, to); !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("packages hold no %s", filepath.Base(to))
}

// runTool runs a program and returns its complaint as an error.
func runTool(ctx context.Context, name string, args ...string) error {
	path, err := findTool(name)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, lastLines(string(out), 5))
	}
	return nil
}
