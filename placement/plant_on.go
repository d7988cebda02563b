//go:build plant

package placement

// Plant names the bug that is present.
var Plant string

func planted(name string) bool { return Plant == name }
