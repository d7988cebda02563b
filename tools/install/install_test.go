package install

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeIn runs a target of the Makefile with variables.
func makeIn(t *testing.T, target string, variables ...string) {
	t.Helper()
	cmd := exec.Command("make", append([]string{"-C", "../..", target}, variables...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", target, err, out)
	}
}

// listing returns the files below dir with their permissions.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, info.Mode().String()+" /"+rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

// program stands for the binary: these tests do not build it.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "unblend")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return "BIN=" + path
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestInstallListing(t *testing.T) {
	dest, bin := t.TempDir(), program(t)
	makeIn(t, "install", "DESTDIR="+dest, bin)
	want := []string{
		"-rw-r--r-- /etc/default/unblend",
		"-rw-r--r-- /usr/lib/systemd/system/unblend.service",
		"-rw-r--r-- /usr/lib/tmpfiles.d/unblend.conf",
		"-rw-r--r-- /usr/lib/udev/rules.d/55-unblend.rules",
		"-rwxr-xr-x /usr/lib/unblend/lvm-filter",
		"-rwxr-xr-x /usr/sbin/unblend",
	}
	if got := listing(t, dest); !slices.Equal(got, want) {
		t.Errorf("installed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	unit := read(t, dest+"/usr/lib/systemd/system/unblend.service")
	filled := strings.Contains(unit, "ExecStart=/usr/sbin/unblend serve")
	if !filled || strings.Contains(unit, "@S") {
		t.Errorf("the unit's paths are not filled in:\n%s", unit)
	}
	makeIn(t, "uninstall", "DESTDIR="+dest)
	if got := listing(t, dest); len(got) > 0 {
		t.Errorf("uninstall leaves\n%s", strings.Join(got, "\n"))
	}
}

// TestInstallKeepsSettings installs over changed settings, and uninstalls.
func TestInstallKeepsSettings(t *testing.T) {
	dest, bin := t.TempDir(), program(t)
	settings := filepath.Join(dest, "etc/default/unblend")
	if err := os.MkdirAll(filepath.Dir(settings), 0o755); err != nil {
		t.Fatal(err)
	}
	const text = "POOL=/dev/sdb\n"
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	makeIn(t, "install", "DESTDIR="+dest, bin)
	makeIn(t, "uninstall", "DESTDIR="+dest)
	if got := read(t, settings); got != text {
		t.Errorf("settings are %q, want %q", got, text)
	}
}

func TestInstallPrefix(t *testing.T) {
	dest, bin := t.TempDir(), program(t)
	makeIn(t, "install", "DESTDIR="+dest, "PREFIX=/opt/u", "SYSCONFDIR=/opt/u/etc", bin)
	for _, f := range listing(t, dest) {
		if !strings.Contains(f, " /opt/u/") {
			t.Errorf("%s lies outside the prefix", f)
		}
	}
	unit := read(t, dest+"/opt/u/lib/systemd/system/unblend.service")
	for _, line := range []string{
		"\nExecStart=/opt/u/sbin/unblend serve $OPTIONS $POOL\n",
		"\nEnvironmentFile=/opt/u/etc/default/unblend\n",
	} {
		if !strings.Contains(unit, line) {
			t.Errorf("the unit has no line %q", line)
		}
	}
}

// TestUnitVerifies asks systemd what it thinks of the unit.
func TestUnitVerifies(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	prefix := t.TempDir()
	makeIn(t, "install", "DESTDIR="+prefix, "PREFIX=", "SBINDIR="+prefix+"/sbin",
		"SYSCONFDIR=/etc", program(t))
	// The program is where the unit says only without DESTDIR.
	if err := os.Rename(filepath.Join(prefix, prefix, "sbin"), prefix+"/sbin"); err != nil {
		t.Fatal(err)
	}
	unit := prefix + "/lib/systemd/system/unblend.service"
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	var complaints []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "unblend.service") {
			complaints = append(complaints, line)
		}
	}
	if len(complaints) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, strings.Join(complaints, ""))
	}
}

// filter runs lvm-filter on the configuration in dir. The host's LVM reports global as its filter.
func filter(t *testing.T, dir, verb, global string) string {
	t.Helper()
	bin := t.TempDir()
	script := "#!/bin/sh\nexit 5\n"
	if global != "" {
		script = "#!/bin/sh\necho '" + global + "'\n"
	}
	if err := os.WriteFile(bin+"/lvmconfig", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("./lvm-filter", verb)
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "LVM_SYSTEM_DIR=" + dir}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("lvm-filter %s: %v\n%s", verb, err, out)
	}
	return string(out)
}

func TestLVMFilter(t *testing.T) {
	dir := t.TempDir()
	conf := dir + "/lvmlocal.conf"
	const ours = "local {\n}\n"
	if err := os.WriteFile(conf, []byte(ours), 0o644); err != nil {
		t.Fatal(err)
	}
	filter(t, dir, "add", "")
	const line = `global_filter = [ "r|^/dev/ublkb.*|", "r|^/dev/unblend/.*|" ]`
	added := read(t, conf)
	if !strings.HasPrefix(added, ours) || !strings.Contains(added, line) {
		t.Errorf("after add:\n%s", added)
	}
	filter(t, dir, "add", line)
	if again := read(t, conf); again != added {
		t.Errorf("after a second add:\n%s", again)
	}
	filter(t, dir, "remove", line)
	if removed := read(t, conf); removed != ours {
		t.Errorf("after remove: %q, want %q", removed, ours)
	}
}

// TestLVMFilterRespectsTheHosts: a filter that somebody set is not replaced.
func TestLVMFilterRespectsTheHosts(t *testing.T) {
	dir := t.TempDir()
	out := filter(t, dir, "add", `global_filter=["r|/dev/zd.*|"]`)
	if !strings.Contains(out, `"r|^/dev/ublkb.*|"`) {
		t.Errorf("it does not say what to add: %q", out)
	}
	if _, err := os.Stat(dir + "/lvmlocal.conf"); err == nil {
		t.Error("lvmlocal.conf was written")
	}
	filter(t, dir, "remove", "")
	filter(t, dir, "add", "")
	filter(t, dir, "remove", "")
	if _, err := os.Stat(dir + "/lvmlocal.conf"); err == nil {
		t.Error("an empty lvmlocal.conf is left")
	}
}
