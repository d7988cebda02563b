//go:build !plant

package placement

// planted reports whether the named bug is to be present. Only test builds with the tag plant have
// any: they show that the simulation notices.
func planted(string) bool { return false }
