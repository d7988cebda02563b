// Package blocktrace tells what the kernel's block layer does with chosen devices, in order, through
// tracefs: each request as it is issued to its driver and as it completes. It needs root and a
// mounted tracefs, and neither BPF nor a compiler. The project measures with it from outside what
// its daemon says about itself.
package blocktrace
