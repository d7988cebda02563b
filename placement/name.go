package placement

import (
	"fmt"
	"strings"

	"unblend/log"
)

const (
	// MaxName is the longest name of a volume, and of a snapshot behind the "@", in bytes.
	MaxName = 63
	// MinSize and MaxSize are the limits of a volume's size, in bytes.
	MinSize = 1 << 20
	MaxSize = 256 << 40

	maxNodeName = 2*MaxName + 1
)

// ValidName checks the name of a volume, or the part of a snapshot's behind the "@": 1 to 63 of
// the letters, digits and ._+- of ASCII, of which "." and "-" do not come first. The error is an
// ErrName that says what is wrong.
func ValidName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("empty name: %w", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("name of %d bytes, %d at most: %w", len(name), MaxName, ErrName)
	case name[0] == '-' || name[0] == '.':
		return fmt.Errorf("name %q begins with %q: %w", name, name[0], ErrName)
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune("._+-", rune(c)) {
			return fmt.Errorf("name %q has %q, not one of A-Z a-z 0-9 . _ + -: %w",
				name, c, ErrName)
		}
	}
	return nil
}

// ValidNodeName checks the name of a volume or, with an "@", of a snapshot: "volume@snapshot".
func ValidNodeName(name string) error {
	volume, snapshot, has := strings.Cut(name, "@")
	if err := ValidName(volume); err != nil || !has {
		return err
	}
	return ValidName(snapshot)
}

// ValidSize checks the size of a volume in bytes: 1 MiB to 256 TiB, a multiple of 4 KiB. The error
// is an ErrSize that says what is wrong.
func ValidSize(bytes int64) error {
	switch {
	case bytes < MinSize:
		return fmt.Errorf("size of %d bytes is below 1 MiB: %w", bytes, ErrSize)
	case bytes > MaxSize:
		return fmt.Errorf("size of %d bytes is above 256 TiB: %w", bytes, ErrSize)
	case bytes%log.BlockSize != 0:
		return fmt.Errorf("size of %d bytes is not a multiple of 4 KiB: %w", bytes, ErrSize)
	}
	return nil
}

// Object names a volume or snapshot as messages do.
func Object(name string) string {
	if strings.Contains(name, "@") {
		return fmt.Sprintf("snapshot %q", name)
	}
	return fmt.Sprintf("volume %q", name)
}
