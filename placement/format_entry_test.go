package placement

import (
	"bytes"
	"errors"
	"testing"

	"unblend/log"
)

func TestEntryLayout(t *testing.T) {
	page := make([]byte, log.BlockSize)
	e := Entry{
		Addr: 0x0605_0403_0201, Flags: FlagMapped | FlagLost, Epoch: 0x1312_1110, CRC: 0x2322_2120,
	}
	putEntry(page, 255, e)
	want := []byte{1, 2, 3, 4, 5, 6, 3, 0, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23}
	if got := page[log.BlockSize-entrySize:]; !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	if !isZero(page[:log.BlockSize-entrySize]) {
		t.Error("other entries changed")
	}
	if got := entryAt(page, 255); got != e {
		t.Errorf("got %+v, want %+v", got, e)
	}
	putEntry(page, 254, Entry{Addr: addrMax, Flags: ^uint16(0)})
	if got := entryAt(page, 254); got.Addr != addrMax || got.Flags != ^uint16(0) {
		t.Errorf("got %+v", got)
	}
}

func TestEntryAddressTooLarge(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an address of 49 bits was cut off silently")
		}
	}()
	putEntry(make([]byte, log.BlockSize), 0, Entry{Addr: addrMax + 1, Flags: FlagMapped})
}

func TestEntryValidate(t *testing.T) {
	for _, c := range []struct {
		e  Entry
		ok bool
	}{
		{Entry{}, true},
		{Entry{Addr: 99, Flags: FlagMapped, Epoch: 1, CRC: 2}, true},
		{Entry{Flags: FlagLost, Epoch: 1, CRC: 2}, true},
		{Entry{Addr: 99, Flags: FlagMapped | FlagLost, Epoch: 1}, true},
		{Entry{Addr: 100, Flags: FlagMapped}, false},
		{Entry{Addr: 1}, false},
		{Entry{CRC: 1}, false},
		{Entry{Epoch: 1}, false},
		{Entry{Addr: 1, Flags: FlagLost}, false},
		{Entry{Flags: 4 | FlagMapped}, false},
	} {
		err := c.e.validate(100)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%+v: %v", c.e, err)
		}
	}
}

// FuzzEntry reads arbitrary bytes as an entry: writing it gives the same bytes.
func FuzzEntry(f *testing.F) {
	f.Add(make([]byte, entrySize))
	f.Add([]byte("sixteen bytes or"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < entrySize {
			return
		}
		out := make([]byte, entrySize)
		putEntry(out, 0, entryAt(in, 0))
		if !bytes.Equal(out, in[:entrySize]) {
			t.Errorf("% x became % x", in[:entrySize], out)
		}
		_ = entryAt(in, 0).validate(1 << 20)
	})
}
