package uring

import "syscall"

// CQE is one completion.
type CQE struct {
	UserData uint64
	Res      int32  // the operation's result, or a negative errno
	Flags    uint32 // IORING_CQE_F_
}

// Errno returns the error in the result, or 0.
func (c CQE) Errno() syscall.Errno {
	if c.Res < 0 {
		return syscall.Errno(-c.Res)
	}
	return 0
}

// Ready returns how many completions wait to be reaped.
func (r *Ring) Ready() uint32 { return r.g.CQReady() }

// Reap copies completions to out, oldest first, gives their places back to the kernel and returns
// how many there were. Entries of out beyond that are left alone.
func (r *Ring) Reap(out []CQE) int {
	total := 0
	for total < len(out) {
		// PeekBatchCQE fills the whole slice, whatever is ready: ask for no more than that.
		n := min(int(r.g.CQReady()), len(out)-total, len(r.batch))
		if n == 0 {
			break
		}
		n = int(r.g.PeekBatchCQE(r.batch[:n]))
		for i, c := range r.batch[:n] {
			out[total+i] = CQE{UserData: c.UserData, Res: c.Res, Flags: c.Flags}
		}
		r.g.CQAdvance(uint32(n))
		total += n
	}
	r.stats.Reaped += uint64(total)
	return total
}
