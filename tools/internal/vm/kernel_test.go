package vm

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSourceIn(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"one line": {
			"# deb http://old.example/debian x main\n" +
				"deb [signed-by=/k.gpg] https://mirror.example/debian/ trixie main\n",
			"https://mirror.example/debian/",
		},
		"deb822": {
			"Types: deb\n# http://snapshot.example/archive/debian/2025\n" +
				"URIs: http://mirror.example/pub/debian\nSuites: bookworm\n",
			"http://mirror.example/pub/debian",
		},
		"security only": {"deb http://mirror.example/debian-security x/updates main\n", ""},
		"another one":   {"deb https://packages.example/node x main\n", ""},
		"source only":   {"deb-src http://mirror.example/debian trixie main\n", ""},
	} {
		if got := sourceIn(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestNewestKernel(t *testing.T) {
	packages := []string{
		"linux-image-6.12.9+deb13-amd64", "linux-image-6.12.107+deb13-amd64",
		"linux-image-6.12.107+deb13-cloud-amd64", "linux-image-6.12.108+deb13-rt-amd64",
		"linux-image-7.3.4+deb13-amd64", "linux-image-7.3.4+deb13.1-amd64",
		"linux-image-7.3.5+deb13-amd64-dbg", "linux-binary-7.9.9+deb13-amd64",
		"linux-image-7.12.1+deb13-amd64-unsigned",
	}
	for series, want := range map[string]string{
		"6.12": "6.12.107+deb13-amd64",
		"7.3":  "7.3.4+deb13.1-amd64",
		"":     "7.3.4+deb13.1-amd64",
	} {
		if got, err := newest(packages, series); err != nil || got != want {
			t.Errorf("series %q: %q, %v, want %q", series, got, err, want)
		}
	}
	_, err := newest(packages, "7.1")
	if err == nil || !strings.Contains(err.Error(), "7.3.4+deb13.1-amd64") {
		t.Errorf("unknown series: %v, want the newest named", err)
	}
}

// TestFindOffline shows that a kernel in the cache is found without apt.
func TestFindOffline(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("UNBLEND_VM_CACHE", cache)
	t.Setenv("PATH", t.TempDir())
	const release = "6.12.1+deb13-amd64"
	for name, text := range map[string]string{
		"names/6.12": release, "kernels/" + release + "/vmlinuz": "kernel",
	} {
		path := filepath.Join(cache, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	k, err := Find(context.Background(), "6.12", false, &log)
	if err != nil || k.Release != release || log.Len() > 0 {
		t.Errorf("found %+v, %v, log %q", k, err, log.String())
	}
	if _, err := Find(context.Background(), "backports", false, &log); err == nil {
		t.Error("a kernel that is not in the cache was found without apt")
	}
}

func TestModuleOrder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": "k/fs/9p.ko.xz: k/net/9pnet.ko.xz k/fs/netfs.ko.xz\n" +
			"k/net/9pnet_virtio.ko.xz: k/net/9pnet.ko.xz\nk/net/9pnet.ko.xz:\nk/fs/netfs.ko.xz:\n",
		"modules.builtin": "k/fs/overlay.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := moduleOrder(dir, []string{"9pnet_virtio", "9p", "overlay"})
	want := []string{
		"k/net/9pnet.ko.xz", "k/net/9pnet_virtio.ko.xz", "k/fs/netfs.ko.xz", "k/fs/9p.ko.xz",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("order %q, %v, want %q", got, err, want)
	}
	if _, err := moduleOrder(dir, []string{"virtio_console"}); err == nil {
		t.Error("a module that does not exist was accepted")
	}
}

func TestArrange(t *testing.T) {
	const release = "7.3.4+deb13-amd64"
	for name, files := range map[string][]string{
		"before 7.2": {"boot/vmlinuz-" + release, "usr/lib/modules/" + release + "/x.ko"},
		"old":        {"boot/vmlinuz-" + release, "lib/modules/" + release + "/x.ko"},
		"since 7.2": {
			"usr/lib/modules/" + release + "/vmlinuz", "usr/lib/modules/" + release + "/x.ko",
		},
	} {
		dir := t.TempDir()
		for _, f := range files {
			path := filepath.Join(dir, "unpacked", f)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(f), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		k := Kernel{Release: release, Dir: filepath.Join(dir, "ready")}
		if err := arrange(filepath.Join(dir, "unpacked"), k.Dir, release); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, path := range []string{k.Image(), filepath.Join(k.Modules(), "x.ko")} {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestDriveNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"log": true, "Data-2.img": true, "a1234567890123456789": true,
		"": false, ".": false, "a/b": false, "a b": false, "a,b": false,
		"a12345678901234567890": false,
	} {
		if err := (Drive{Name: name}).validate(); (err == nil) != ok {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if err := (Drive{Name: "log", Bus: "scsi"}).validate(); err == nil {
		t.Error("an unknown bus was accepted")
	}
}

func TestUnderTmp(t *testing.T) {
	for dir, want := range map[string]string{
		"/tmp/a/b/c": "/tmp/a", "/tmp/a": "/tmp/a", "/tmp": "", "/home/tmp/a": "", "/tmpfs/a": "",
	} {
		if got := underTmp(dir); got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
}
