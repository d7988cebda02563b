// Package install holds what `make install` puts on a host besides the program: the systemd unit
// and its settings, the directory of the control socket, the udev rule, and the script that keeps
// LVM away from guests' disks. Its tests install and uninstall into a directory.
package install
