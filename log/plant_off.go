//go:build !plant

package log

// planted reports whether the named bug is switched on: never, outside of tests that show that the
// tests would notice it (build tag plant).
func planted(string) bool { return false }
