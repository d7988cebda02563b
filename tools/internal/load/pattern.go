package load

import "math/rand/v2"

// Sequential writes n bytes at a time in order, from the start of size bytes to their end and again.
func Sequential(size, n int64) Pattern {
	at := int64(0)
	return func(*rand.Rand) Range {
		if at+n > size {
			at = 0
		}
		r := Range{at, n}
		at += n
		return r
	}
}

// Random writes aligned blocks of n bytes anywhere in size bytes.
func Random(size, n int64) Pattern {
	return func(rng *rand.Rand) Range { return Range{rng.Int64N(size/n) * n, n} }
}

// Once writes each aligned block of n bytes in size bytes once, in random order; then it begins
// anew. It never begins anew while its caller asks for fewer than size/n ranges.
func Once(size, n int64, seed uint64) Pattern {
	order := rand.New(rand.NewPCG(seed, 0)).Perm(int(size / n))
	i := -1
	return func(*rand.Rand) Range {
		i = (i + 1) % len(order)
		return Range{int64(order[i]) * n, n}
	}
}

// Hot writes aligned blocks of n bytes, nine of ten in the first hot bytes, the tenth anywhere.
func Hot(size, hot, n int64) Pattern {
	return func(rng *rand.Rand) Range {
		area := hot
		if rng.IntN(10) == 0 {
			area = size
		}
		return Range{rng.Int64N(area/n) * n, n}
	}
}

// Mixed writes between one sector and limit bytes at any sector, each power of two as often as every
// other, half of them cut to an odd size.
func Mixed(size, limit int64) Pattern {
	powers := 1
	for n := int64(SectorSize); n < limit; n *= 2 {
		powers++
	}
	return func(rng *rand.Rand) Range {
		n := int64(SectorSize) << rng.IntN(powers)
		if n > SectorSize && rng.IntN(2) == 0 {
			n -= rng.Int64N(n/SectorSize) * SectorSize
		}
		return Range{rng.Int64N((size-n)/SectorSize+1) * SectorSize, n}
	}
}
