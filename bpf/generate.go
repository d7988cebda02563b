package bpf

// The object and what Go knows of it are committed, so that building needs no compiler for BPF.
// `make generate` makes them anew; with the same compiler they come out the same, byte for byte.

//go:generate -command bpf2go go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -target bpfel
//go:generate bpf2go -type event blend blend.bpf.c -- -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu

//go:generate -command steps2go go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-14 -target bpfel -type step
//go:generate steps2go requests requests.bpf.c -- -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu
