package placement

import "unblend/log"

// What many volumes read is read once: blocks that a volume has from another one, as clones have
// those of their image, are kept in the page cache's frames, by their address. A volume's own blocks
// are not, nor those of its snapshots: its guest has a page cache for them.
//
// Such a frame is a copy of a block that does not change, so it is never dirty and can be replaced
// at any moment by a page. The block's address may get other content when it was freed, or when its
// owner has become the only one to read it and writes it in place: the frame is dropped before that
// write begins (forgetShared). A read that would put the old content back is not under way then: it
// began before the block was placed, and the wait that precedes the write (beginGrace) was for it.
// Besides, a frame answers only for the checksum that the reader's map has.
//
// A frame saves a device operation or nothing: a run of blocks that a device would read at once is
// copied from memory if the frames have all of it, and read as a whole otherwise. Reading around
// single blocks would make many short operations of a long one.
//
// While a block is being read its frame is lent to the reader, so that others, who want it at the
// same moment because they boot from the same image, wait for this one read.

// maxSharedWaits is how often a request waits for other readers before it reads by itself.
const maxSharedWaits = 8

// sharedLimit returns how many frames may have shared blocks: half of what is not dirty. Beyond it
// they replace each other.
func (c *cache) sharedLimit() int { return (len(c.frames) - c.dirty) / 2 }

// mayLend reports whether a frame may be lent to a reader: to a bounded number at a time, and none
// while a checkpoint takes the last frames for its cut.
func (c *cache) mayLend() bool {
	return c.lent < len(c.frames)/8 && c.p.back.phase != cutCatalogue
}

// hasShared reports whether frames have all blocks of a run, or else, for which one to wait.
func (c *cache) hasShared(run []source) (all bool, wait int32) {
	wait = noFrame
	for i := range run {
		f := c.findShared(&run[i])
		if f == noFrame {
			return false, noFrame
		}
		if c.frames[f].state == frameLoading {
			wait = f
		}
	}
	return wait == noFrame, wait
}

// findShared returns the frame of a block, valid or being loaded.
func (c *cache) findShared(s *source) int32 {
	if !s.shared || c.shared == 0 {
		return noFrame
	}
	f := c.find(key(sharedBlock, s.block))
	if f == noFrame || c.frames[f].crc != s.crc && !planted("stale-shared-block") {
		return noFrame
	}
	return f
}

// copyShared fills buf with a run that the frames have.
func (c *cache) copyShared(run []source, buf []byte) {
	for i := range run {
		f := c.findShared(&run[i])
		c.used(f)
		copy(buf[i*log.BlockSize:(i+1)*log.BlockSize], c.page(f))
	}
	c.p.stats.SharedHits += uint64(len(run))
}

// lendShared is called when a run is to be read: it lends frames to those of its blocks that have
// none, as long as there are any.
func (c *cache) lendShared(run []source) {
	for i := range run {
		s := &run[i]
		if !s.shared {
			continue
		}
		c.p.stats.SharedReads++
		if !c.mayLend() || c.find(key(sharedBlock, s.block)) != noFrame {
			continue
		}
		if f := c.takeShared(s); f != noFrame {
			c.setLoading(f, s.crc)
			c.lent++
		}
	}
}

// takeShared returns a frame for a block, or noFrame.
func (c *cache) takeShared(s *source) int32 {
	f := int32(noFrame)
	if c.shared < c.sharedLimit() {
		f = c.victim(&c.hand, false)
	} else {
		f = c.victim(&c.itsHand, true)
	}
	if f != noFrame {
		c.claim(f, key(sharedBlock, s.block))
	}
	return f
}

// keepShared is called with the content of a block that has been read and has the right checksum.
func (c *cache) keepShared(s *source, content []byte) {
	if !s.shared {
		return
	}
	f := c.find(key(sharedBlock, s.block))
	if f == noFrame {
		if f = c.takeShared(s); f != noFrame {
			c.frames[f].crc = s.crc
			copy(c.page(f), content)
		}
		return
	}
	if c.lentFor(f, s) {
		copy(c.page(f), content)
		c.returned(f)
	}
}

// missShared is called when a block could not be read, or was not what it should be. Those who wait
// for it see for themselves.
func (c *cache) missShared(s *source) {
	if !s.shared {
		return
	}
	if f := c.find(key(sharedBlock, s.block)); f != noFrame && c.lentFor(f, s) {
		c.returned(f)
		c.drop(f)
	}
}

// lentFor reports whether frame f is lent for a block, to whichever reader.
func (c *cache) lentFor(f int32, s *source) bool {
	return c.frames[f].state == frameLoading && c.frames[f].crc == s.crc
}

func (c *cache) returned(f int32) {
	c.lent--
	c.loaded(f, frameValid)
}

// forgetShared is called before the block at an address gets other content.
func (c *cache) forgetShared(addr uint64) {
	if c.shared == 0 || planted("stale-shared-block") {
		return
	}
	f := c.find(key(sharedBlock, addr))
	if f == noFrame {
		return
	}
	if c.frames[f].state == frameLoading {
		panic("placement: a block is to be written that is being read")
	}
	c.drop(f)
}
