package placement

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"unblend/log"
)

func testUUID(first byte) (u UUID) {
	for i := range u {
		u[i] = first + byte(i)
	}
	return u
}

// testLabel returns the label of the capacity device of a pool on two devices.
func testLabel() *Label {
	return &Label{
		Pool: testUUID(0x10), Role: RoleCapacity, Durability: DurabilityFlush, Sequence: 3,
		Created: 1_800_000_000, Devices: [log.Devs]UUID{testUUID(0x20), testUUID(0x40)},
		Sizes: [log.Devs]uint64{1 << 30, 8<<30 + 512}, LogOffset: 4096 * 1000,
		SegmentBlocks: 256, Segments: 16, Homes: [log.Devs]uint64{0, 16},
		Home: HomeLayout{
			Blocks: 600, Roots: 1, BlockMap: 3, BlockMapBlocks: 128, PageMap: 131,
			PageMapBlocks: 2, Pages: 133, PageCount: 467, BlockMapRoom: 64, PageMapRoom: 1,
		},
		CapacityBlocks: 2 << 20,
		Zones: []Zone{
			{ZoneReserved, log.Capacity, 0, 16},
			{ZoneData, log.Capacity, 616, 2<<20 - 716},
			{ZonePagesA, log.Fast, 1000 + 16*256, 40},
			{ZonePagesB, log.Capacity, 2<<20 - 100, 40},
		},
	}
}

// oneDeviceLabel returns the label of a pool on one device.
func oneDeviceLabel() *Label {
	l := testLabel()
	l.Role, l.Devices[log.Capacity] = RoleBoth, l.Devices[log.Fast]
	l.Sizes[log.Fast] = l.Sizes[log.Capacity]
	l.Homes[log.Capacity] = 2<<20 - 601
	l.Zones = []Zone{{ZoneData, log.Capacity, 1000 + 16*256, 1 << 20}}
	return l
}

const labelOff = 16 * log.BlockSize // of home B in testLabel

func TestLabelGolden(t *testing.T) {
	b := make([]byte, log.BlockSize)
	testLabel().Encode(b, log.Capacity, labelOff)
	l, err := DecodeLabel(golden(t, "label-v1.bin", b), log.Capacity, labelOff)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l, testLabel()) {
		t.Errorf("got %+v, want %+v", l, testLabel())
	}
}

func TestLabelCopiesOfOneDevice(t *testing.T) {
	b := make([]byte, log.BlockSize)
	last := int64(2<<20-1) * log.BlockSize
	for _, at := range []place{
		{log.Fast, 0},
		{log.Capacity, int64(2<<20-601) * log.BlockSize},
		{log.Capacity, last},
	} {
		oneDeviceLabel().Encode(b, at.dev, at.off)
		l, err := DecodeLabel(b, at.dev, at.off)
		if err != nil || !reflect.DeepEqual(l, oneDeviceLabel()) {
			t.Errorf("%+v: %+v, %v", at, l, err)
		}
	}
	// A copy that is found where another one belongs was misdirected.
	if _, err := DecodeLabel(b, log.Fast, 0); !errors.Is(err, ErrDamaged) {
		t.Errorf("misdirected copy: %v", err)
	}
	if _, err := DecodeLabel(b, log.Capacity, last-4096); !errors.Is(err, ErrDamaged) {
		t.Errorf("misdirected copy: %v", err)
	}
}

func TestLabelFrame(t *testing.T) {
	b := make([]byte, log.BlockSize)
	if _, err := DecodeLabel(b, log.Capacity, labelOff); !errors.Is(err, ErrNotPool) {
		t.Errorf("empty block: %v", err)
	}
	testLabel().Encode(b, log.Capacity, labelOff)
	// A newer format may have its checksum elsewhere: only the version may be looked at.
	sealBlock(b, labelMagic, labelVersion+1, testUUID(0x10), place{log.Capacity, labelOff})
	b[blockCRC]++
	if _, err := DecodeLabel(b, log.Capacity, labelOff); !errors.Is(err, ErrVersion) {
		t.Errorf("newer version: %v", err)
	}
}

// TestLabelFlippedBits flips every bit of a label: none goes unnoticed, and none but those of the
// magic makes it look like anything but a damaged label.
func TestLabelFlippedBits(t *testing.T) {
	b := make([]byte, log.BlockSize)
	testLabel().Encode(b, log.Capacity, labelOff)
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		if _, err := DecodeLabel(b, log.Capacity, labelOff); !errors.Is(err, ErrDamaged) &&
			(i >= 64 || !errors.Is(err, ErrNotPool)) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestLabelValidate(t *testing.T) {
	overlap := Zone{ZoneData, log.Capacity, 700, 1}
	for _, c := range []struct {
		what  string // in the error
		spoil func(l *Label)
	}{
		{"role", func(l *Label) { l.Role = 0 }},
		{"role", func(l *Label) { l.Role = RoleFast }},
		{"role", func(l *Label) { l.Role = 4 }},
		{"role and UUIDs", func(l *Label) { l.Devices[0] = l.Devices[1] }},
		{"role and UUIDs", func(l *Label) { l.Role = RoleBoth }},
		{"durability", func(l *Label) { l.Durability = 2 }},
		{"home", func(l *Label) { l.Homes[log.Capacity]++ }},
		{"log offset", func(l *Label) { l.LogOffset++ }},
		{"log blocks", func(l *Label) { l.Segments = 0 }},
		{"log blocks", func(l *Label) { l.SegmentBlocks = 0 }},
		{"log blocks", func(l *Label) { l.Segments, l.SegmentBlocks = 1<<31, 1<<31 }},
		{"outside its device", func(l *Label) { l.Segments = 1 << 18 / 256 }},
		{"outside its device", func(l *Label) { l.LogOffset = 1<<64 - 4096 }},
		{"outside its device", func(l *Label) { l.Homes[log.Fast] = 1<<64 - 1 }},
		{"outside its device", func(l *Label) { l.Zones[1].Start += 101 }},
		{"outside its device", func(l *Label) { l.Zones[3].Start += 61 }},
		{"outside its device", func(l *Label) { l.Zones[1].Blocks = 0 }},
		{"outside its device", func(l *Label) { l.Zones[1].Start = 1<<64 - 1 }},
		{"capacity blocks", func(l *Label) { l.CapacityBlocks++ }},
		{"overlap", func(l *Label) { l.LogOffset = 599 * 4096 }},
		{"overlap", func(l *Label) { l.Zones = append(l.Zones, overlap) }},
		{"overlap", func(l *Label) { l.Zones[1].Start-- }},
		{"overlap", func(l *Label) { l.Zones[2].Start-- }},
		{"overlap", func(l *Label) { l.Zones[3].Start-- }},
		{"kind of zone", func(l *Label) { l.Zones[0].Kind = 0 }},
		{"kind of zone", func(l *Label) { l.Zones[0].Kind = zoneKinds }},
		{"device of zone", func(l *Label) { l.Zones[0].Dev = log.Devs }},
		{"device of data", func(l *Label) { l.Zones[1].Dev = log.Fast }},
		{"zones", func(l *Label) { l.Zones = make([]Zone, MaxZones+1) }},
		{"order", func(l *Label) { l.Zones[0], l.Zones[1] = l.Zones[1], l.Zones[0] }},
		{"bitmap blocks", func(l *Label) { l.Home.BlockMapBlocks-- }},
		{"bitmap blocks", func(l *Label) { l.Home.PageMapBlocks = 0 }},
		{"bitmap blocks", func(l *Label) { l.Home.PageMapRoom = 2 }},
		{"room of a bitmap", func(l *Label) { l.Home.BlockMapRoom = maxBitmap + 1 }},
		{"room of a bitmap", func(l *Label) { l.Home.PageMapRoom = 1<<64 - 1 }},
		{"room of the block bitmap", func(l *Label) {
			l.Home.BlockMapRoom, l.Home.BlockMapBlocks = 63, 126
		}},
		{"room of the page bitmap", func(l *Label) {
			l.Zones[1].Blocks -= 40000
			l.Zones[2].Blocks, l.Zones[3].Blocks = 40040, 40040
			l.Zones[3].Start -= 40000
		}},
		{"pages of the homes", func(l *Label) { l.Zones[2].Blocks++ }},
		{"part of the home", func(l *Label) { l.Home.PageCount++ }},
		{"parts of the home", func(l *Label) { l.Home.Roots = 0 }},
		{"parts of the home", func(l *Label) { l.Home.PageMap-- }},
	} {
		l := testLabel()
		c.spoil(l)
		var corrupt *CorruptError
		if err := l.validate(place{log.Capacity, labelOff}); !errors.As(err, &corrupt) {
			t.Errorf("%s: %v", c.what, err)
		} else if !strings.Contains(corrupt.What, c.what) || corrupt.Off != labelOff ||
			corrupt.Dev != log.Capacity {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestLabelValidateOneDevice(t *testing.T) {
	for _, c := range []struct {
		what  string
		spoil func(l *Label)
	}{
		{"sizes of one device", func(l *Label) { l.Sizes[log.Fast]-- }},
		{"overlap", func(l *Label) { l.Zones[0].Start-- }}, // the log's end
		{"overlap", func(l *Label) { l.Homes[log.Capacity]++ }},
		{"overlap", func(l *Label) { l.Zones[0].Blocks = 2<<20 - 600 - l.Zones[0].Start }},
	} {
		l := oneDeviceLabel()
		c.spoil(l)
		err := l.validate(place{log.Fast, 0})
		if err == nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// resealed returns b as a sealed block, so that what a fuzzer made of its fields is looked at.
func resealed(b []byte, magic string, at place) []byte {
	block := make([]byte, log.BlockSize)
	copy(block, b)
	sealBlock(block, magic, 1, UUID(block[16:32]), at)
	return block
}

func FuzzLabel(f *testing.F) {
	b := make([]byte, log.BlockSize)
	testLabel().Encode(b, log.Capacity, labelOff)
	f.Add(b)
	oneDeviceLabel().Encode(b, log.Capacity, int64(2<<20-601)*log.BlockSize)
	f.Add(b)
	at := place{log.Capacity, labelOff}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) >= log.BlockSize {
			_, _ = DecodeLabel(in, at.dev, at.off)
		}
		l, err := DecodeLabel(resealed(in, labelMagic, at), at.dev, at.off)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("a sealed label: %v", err)
			}
			return
		}
		again := make([]byte, log.BlockSize)
		l.Encode(again, at.dev, at.off)
		m, err := DecodeLabel(again, at.dev, at.off)
		if err != nil || !reflect.DeepEqual(l, m) {
			t.Fatalf("%+v became %+v, %v", l, m, err)
		}
	})
}
