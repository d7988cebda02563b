module unblend

go 1.26.0

require (
	github.com/cilium/ebpf v0.22.0
	github.com/pawelgaczynski/giouring v0.0.0-20230826085535-69588b89acb9
	github.com/spf13/pflag v1.1.0
	golang.org/x/sys v0.49.0
	pgregory.net/rapid v1.3.0
)
