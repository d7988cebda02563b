package units

import "fmt"

// FormatUUID returns a UUID in hexadecimal, with its hyphens.
func FormatUUID(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
