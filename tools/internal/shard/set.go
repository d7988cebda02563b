package shard

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"time"

	"unblend/log"
	"unblend/placement"
	"unblend/ublk"
)

// ErrStopped is returned for work that is sent to shards whose loops have ended.
var ErrStopped = errors.New("the shards have stopped")

// minMemory is the least that one shard's requests have: the largest of each class fits.
const minMemory = 4 << 20

// Config is what shards are made of.
type Config struct {
	Pool  *placement.Pool
	Files [log.Devs]int // descriptors opened for direct I/O; one device: the same twice

	// MaxBlocks is how many blocks a device takes in one request; 0: any number. What is longer
	// goes out in several.
	MaxBlocks [log.Devs]int

	Shards int         // threads; 0: one. The pool is to have as many lanes
	Memory int         // bytes for requests under way, of all; 0: ublk.DefaultPoolSize
	CPUs   []int       // the CPUs to run on, of each shard its own part; empty: any
	Fault  func(error) // told, on a loop's thread, what went wrong with a single device

	LogStart, LogEnd int64 // the log's bytes on the fast device, for the counters
}

// engine is the pool and what goes with it. Whoever touches any of it holds the lock.
type engine struct {
	lock
	pool     *placement.Pool
	start    time.Time
	controls map[*placement.Control]func() // what to do when one has ended
	diffs    map[*placement.Diff]func()    // likewise, of pages of comparisons
	stop     bool                          // no operation is begun any more
	stats    Stats                         // but for Served

	logStart, logEnd int64 // fixed

	all []*Shard // fixed
}

// Shards are the threads that drive a pool. Their methods may be called from any goroutine.
type Shards struct {
	engine
	done chan struct{}
	err  error // why the loops ended; read after done

	mu   sync.Mutex
	load []int // devices of each; guarded by mu
}

// Start makes the threads. When it returns, the loops run, or err says why they cannot.
func Start(cfg Config) (*Shards, error) {
	cfg.Shards = max(cfg.Shards, 1)
	if cfg.Memory == 0 {
		cfg.Memory = ublk.DefaultPoolSize
	}
	if cfg.Shards > placement.MaxShards {
		return nil, fmt.Errorf("%d shards: at most %d", cfg.Shards, placement.MaxShards)
	}
	s := &Shards{
		engine: engine{
			pool: cfg.Pool, start: time.Now(), controls: map[*placement.Control]func(){},
			diffs: map[*placement.Diff]func(){}, logStart: cfg.LogStart, logEnd: cfg.LogEnd,
		},
		done: make(chan struct{}), load: make([]int, cfg.Shards),
	}
	for i := range cfg.Shards {
		s.all = append(s.all, newShard(cfg, &s.engine, i))
	}
	for i, sh := range s.all {
		if err := sh.launch(); err != nil {
			for _, begun := range s.all[:i] {
				err = errors.Join(err, begun.mail.send(letter{func() { s.stop = true }, true}))
				<-begun.done
			}
			return nil, fmt.Errorf("shard %d: %w", i, err)
		}
	}
	go s.watch()
	return s, nil
}

// watch closes done when all loops have ended, or one has failed: then the process has to end.
func (s *Shards) watch() {
	ends := make(chan *Shard)
	for _, sh := range s.all {
		go func() {
			<-sh.done
			ends <- sh
		}()
	}
	for range s.all {
		if sh := <-ends; sh.err != nil {
			s.err = errors.Join(s.err, sh.err)
			break
		}
	}
	close(s.done)
}

// Do runs f while it holds the pool, and waits until it has run.
func (s *Shards) Do(f func()) error {
	ran := make(chan struct{})
	err := s.all[0].mail.send(letter{func() { f(); close(ran) }, true})
	if err == nil {
		<-ran
	}
	return err
}

// on runs f on the thread of one shard, which does not hold the pool, and waits until it has run.
func (s *Shard) on(f func()) error {
	ran := make(chan struct{})
	err := s.mail.send(letter{func() { f(); close(ran) }, false})
	if err == nil {
		<-ran
	}
	return err
}

// Stop ends the loops: no device operation is begun any more, and when those under way have ended
// the loops have too. Devices that are still served stay, with what was asked of them and not
// answered, for the next daemon: the process must end then.
func (s *Shards) Stop() error {
	if err := s.Do(func() { s.stop = true }); err != nil {
		return err
	}
	err := s.wake(1<<len(s.all) - 1)
	<-s.done
	return errors.Join(err, s.err)
}

// wake has shards take a turn: bit i stands for shard i.
func (e *engine) wake(which uint64) (err error) {
	for ; which != 0; which &= which - 1 {
		if e := e.all[bits.TrailingZeros64(which)].mail.wake(); e != nil {
			err = e
		}
	}
	return err
}

// Done is closed when the loops have ended; Err then says why.
func (s *Shards) Done() <-chan struct{} { return s.done }

// Err returns why the loops ended: nil after Stop. Only valid after Done.
func (s *Shards) Err() error { return s.err }

// home chooses the shard for one more device: the one that has the fewest.
func (s *Shards) home() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := 0
	for i, n := range s.load {
		if n < s.load[best] {
			best = i
		}
	}
	s.load[best]++
	return best
}

// left notes that a shard has a device less.
func (s *Shards) left(shard int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load[shard]--
}
