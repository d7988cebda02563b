package device

// Users says who uses the device or file at path, this process excepted: mounts and devices built
// on it if there are any, else the processes that have it open, as far as the user may see them.
// Each is a phrase such as "mounted on /srv" or "open by qemu-system-x86 (pid 4121, vm web1)".
func Users(path string) ([]string, error) {
	_, x, err := machine.stat(path)
	if err != nil {
		return nil, err
	}
	return machine.users(x), nil
}
