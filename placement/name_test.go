package placement

import (
	"errors"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	long := strings.Repeat("x", MaxName)
	for name, ok := range map[string]bool{
		"a": true, "web1": true, "A-z_0.9+": true, "_": true, "+1": true, "0": true, long: true,
		"": false, long + "x": false, strings.Repeat("n", 300): false, "-x": false, ".": false,
		"..": false, ".x": false, "a/b": false, "../a": false, "a b": false, "a@b": false,
		"ä": false, "a\x00": false, "a\n": false, "\xff": false, "a\u2011b": false, "a*": false,
	} {
		err := ValidName(name)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestValidNodeName(t *testing.T) {
	for name, ok := range map[string]bool{
		"web1": true, "web1@monday": true, "a@b@c": false, "@": false, "a@": false, "@b": false,
		"a@-b": false, "-a@b": false, "": false,
	} {
		err := ValidNodeName(name)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestValidSize(t *testing.T) {
	for size, ok := range map[int64]bool{
		MinSize: true, MaxSize: true, MinSize + 4096: true, 20 << 30: true,
		0: false, -1: false, -MaxSize: false, MinSize - 4096: false, MaxSize + 4096: false,
		MinSize + 512: false, MinSize + 1: false, 1<<63 - 1: false, -1 << 63: false,
	} {
		err := ValidSize(size)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrSize) {
			t.Errorf("%d: %v", size, err)
		}
	}
}
