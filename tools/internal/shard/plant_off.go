//go:build !plant

package shard

// planted reports whether the named bug is to be present. Only test builds with the tag plant have
// any: they show that the tests on real kernels notice.
func planted(string) bool { return false }
