package ublk

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

// minRequests is the smallest number of requests the block layer lets a disk have.
const minRequests = 4

// TuneDisk sets what a started disk should have, through /sys/block; it waits for requests under
// way, so it is not for a queue's thread. The settings last as long as the disk.
//
//   - No I/O scheduler. A disk with one queue gets mq-deadline, whose sorting for the sake of a
//     disk arm is wasted on a server that orders requests itself.
//   - One request less than the queue has tags. When a server dies, 6.12 notices by the fetches
//     it had under way; when all tags carried requests there are none, and requests are only
//     requeued after their timeout of 30 s. 7.3 notices in any case.
func TuneDisk(info Info) error {
	dir := fmt.Sprintf("/sys/block/ublkb%d/queue/", info.ID)
	errs := []error{os.WriteFile(dir+"scheduler", []byte("none"), 0)}
	if info.Depth > minRequests {
		n := strconv.Itoa(info.Depth - 1)
		errs = append(errs, os.WriteFile(dir+"nr_requests", []byte(n), 0))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tune disk of device %d: %w", info.ID, err)
	}
	return nil
}
