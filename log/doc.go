// Package log keeps the log of a pool: one sequential stream of records in a ring of segments on
// the fast device, written by a few lanes and read back after a crash.
//
// The steady state does no I/O of its own and has no goroutines, clocks or locks: items go in
// (Lane.Push), Lane.Pump turns them into device operations (Ops), their ends come back
// (Ops.Complete), and a Sink is told what was published. Nothing is allocated per record. Format,
// Recover, Ring.Cut and Verify are plain synchronous code over a Disk. A ring and its lanes belong
// to one thread.
//
// # On the device
//
//	area      | segment 0 | segment 1 | ...
//	segment   | header | record | record | ... | summary | unused |
//	record    | header, entries | payload block | payload block | ... |
//
// The formats are in segment.go, record.go, entry.go and summary.go. Every structure has a magic,
// a version, the pool's UUID and a CRC-32C; every payload block has its CRC-32C in the entry that
// describes it. All numbers are little-endian.
//
// A record is one atomic append of many items: there after a crash as a whole, or not at all. It
// belongs to its segment's present use by a random nonce that the header of the segment has, so
// neither an old record nor bytes that a guest chose are ever taken for one. A lane's segments form
// a chain: each header names the lane's last segment with records and where that validly ends.
//
// Sequence numbers are the pool's, given when a record is formed. A checkpoint of the pool says
// from which sequence number on it needs the log: the replay start, which never falls. A segment is
// free when all its records are below it.
//
// # What is relied on
//
//   - A FUA write that has ended is durable; a flush that has ended made durable what had ended
//     before it was submitted. With DurableFlush only the latter is used.
//   - A power cut tears a write at sectors of 512 bytes or more, which arrive in no order, and
//     leaves others alone. What it tears may be unreadable.
//   - The caller claims the device before it recovers, until no write of an earlier process can
//     land any more, and flushes it.
//   - Roots that the caller names to SetGeneration and FreeBelow are durable.
//
// # Why a crash loses nothing and brings nothing back
//
// Append. A record is published when its write and those of all before it in the lane have ended
// well. So what is published is a prefix of what the lane has formed, and all of it is durable
// (DurableFlush: all up to the last flush). A crash leaves the prefix and, behind it, whatever of
// the few writes under way has landed. Recovery reads records as long as they are whole, payload
// included: it finds at least what was published, and perhaps some of what was under way.
//
// Tail or damage. The first record that is not whole ends the lane, unless it was durable once.
// Every record says which sequence number was the lane's last known durable one when it was formed,
// and a summary says it of its last record. If anything valid behind the bad record says that a
// record behind the last good one was durable, the bad record is damaged. If its entries are
// readable its bad blocks are replayed as lost, else recovery ends with an error. Behind the head
// are also the records of a next segment whose header has not landed: they say that the head was
// durable to its end. In a closed segment every bad record is damaged. What no witness covers (the
// last records of a lane that stopped) cannot be told from a tail.
//
// Next segment. It is opened when all records of the present one have ended well, and with
// DurableFlush a flush after that; so whoever reads the new header knows that the old segment is
// complete and where it ends. The header goes out with the first record, in one write. If only the
// record's part lands, there is no header that knows it: the old segment is still the head, as it
// was. If only the header lands, the head is empty. Nothing of either was acknowledged.
// The old segment's summary is written at the same time; where it is missing or bad, and in the
// head, records are read one by one instead.
//
// Damaged segment header. A link of the chain that is missing is an error. Of the head's header
// nobody links to; its records then stand in a segment that no chain knows, and recovery looks into
// the segment that the last known head planned, and wherever the first record is live and has no
// header: if any record there knows of a durable record that the chain lacks, that is an error.
//
// Failed write. Nothing behind it is published. When all writes under way have ended, the lane
// closes its segment behind the last good record, and appends the failed record's items and all
// later ones again in the next segment, under new sequence numbers and a new nonce. That segment's
// header cuts off what the failed writes left behind: before it is durable nothing in it is
// acknowledged, and from then on recovery goes no further than the end that it names. A segment
// whose first write failed is skipped in the chain, and kept until something is published behind
// it.
//
// Free and reuse. FreeBelow frees what lies below a durable replay start, and every later replay
// ignores what lies below it, in freed segments and in others; so it does not matter in which order
// the freed ones are overwritten, or whether their headers still stand. A segment is not freed
// while its summary is under way, which would land in its next use. A header names the root that
// was durable when it was written: a replay with an older root, whose start lies among what was
// freed, is refused.
//
// Recovery writes nothing until Cut, so a crash before that changes nothing.
//
// Cut. A lane never continues a segment that it wrote before a crash: what is behind the valid end
// could become whole later, when a record of the right length is written before it. The lane gets
// an empty segment whose header names the valid end. Each header is one sector, and the lanes do
// not depend on each other: after a crash in between, the lanes with a new header begin there and
// have nothing in it, the others are found as before. Torn bytes do not change until they are
// overwritten, so the second recovery decides about them as the first one did. A head without
// records to replay is reused in place, so that crashes in a row take no segments. Only when all
// headers are durable is anything accepted.
//
// Reserve. A lane accepts records only while it has another segment planned. So there is one for
// each lane that a recovery has to cut off, however full the log is.
//
// Sequence numbers go on above everything that recovery saw, what it dropped included: a dropped
// record is never taken for a witness, because the sequence number it knows to be durable is not
// above the lane's.
package log
