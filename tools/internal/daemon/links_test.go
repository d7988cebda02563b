package daemon

import (
	"errors"
	"os"
	"testing"

	"unblend/tools/internal/control"
	"unblend/ublk"
)

// TestLinkToAFile: what stands where a device should be, and is none, is named, and nothing points at it.
func TestLinkToAFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a file in /dev")
	}
	const id = 999_983
	if err := os.WriteFile(ublk.BlockPath(id), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(ublk.BlockPath(id))
	d := &daemon{cfg: control.ServeConfig{LinkDir: t.TempDir()}}
	var refused *control.Error
	if err := d.link("web1", id); !errors.As(err, &refused) || refused.Next != "rm "+ublk.BlockPath(id) {
		t.Errorf("a file in the device's place: %v", err)
	}
	if _, err := os.Lstat(d.linkPath("web1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a link all the same: %v", err)
	}
	if err := d.link("web1", id+1); err != nil {
		t.Errorf("a device that is not there yet: %v", err)
	}
}
