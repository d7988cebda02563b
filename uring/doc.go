// Package uring is a thin, strict layer over github.com/pawelgaczynski/giouring, which sets up the
// ring, owns its memory, hands out submission queue entries and walks the completion queue. What
// this package adds is what a block driver cannot do without and that library does not give:
//
//   - Every submission queue entry is zeroed (64 bytes, 128 with SQE128) before it is filled, so
//     no flag of an earlier operation reaches a later one in the same slot.
//   - The command bytes of IORING_OP_URING_CMD are written here, at offset 48.
//   - Files, buffers and the ring's own descriptor are registered with the kernel's types, and
//     the kernel's answer is returned.
//   - io_uring_enter is called here, so that a busy thread can wait without telling Go's
//     scheduler and an idle one can give its P back (see Ring.SubmitAndWait).
//   - EINTR is retried without submitting anything twice.
//
// # Threads
//
// A Ring belongs to the OS thread that created it (IORING_SETUP_SINGLE_ISSUER): the goroutine calls
// runtime.LockOSThread first and never unlocks. Every method is for that thread alone, except
// Waker.Wake. Completions are produced only inside Submit and SubmitAndWait
// (IORING_SETUP_DEFER_TASKRUN).
//
// # user_data
//
// user_data is the caller's 64 bits, passed through untouched: an index and a generation, never a
// pointer. The package submits nothing of its own once New has returned.
//
// # Memory
//
// What the kernel is given the address of lies outside of Go's stacks and, for everything the ring
// owns (iovecs, timespecs, registration structs), outside of Go's heap, in an Arena of the ring.
// Iovecs and timespecs are consumed by the kernel when it consumes the entry
// (IORING_FEAT_SUBMIT_STABLE, checked by New), so they are recycled after each submission. Data
// buffers are the caller's: they must not move and must stay reachable until the completion; an
// Arena is the right place, and a buffer that Go would have put on a stack is moved to the heap
// by being passed here.
//
// # Sizes
//
// The completion queue has twice the entries of the submission queue unless Options.CQEntries says
// otherwise. A completion queue that overflows costs time, not completions (IORING_FEAT_NODROP);
// size it for everything that can be under way at once.
//
// Nothing allocates after New, except on error paths.
package uring
