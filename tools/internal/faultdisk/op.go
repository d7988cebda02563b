package faultdisk

import "fmt"

// Op is a kind of request, as faults, delays and statistics tell them apart.
type Op uint8

// The kinds of request.
const (
	Read Op = iota
	Write
	Flush
	Trim
	Zeroes
	opCount
)

var opNames = [opCount]string{"read", "write", "flush", "trim", "zeroes"}

func (o Op) String() string {
	if o < opCount {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// MarshalText gives the name that UnmarshalText takes.
func (o Op) MarshalText() ([]byte, error) {
	if o >= opCount {
		return nil, fmt.Errorf("unknown operation %d", uint8(o))
	}
	return []byte(o.String()), nil
}

// UnmarshalText takes read, write, flush, trim or zeroes.
func (o *Op) UnmarshalText(text []byte) error {
	for i, name := range opNames {
		if name == string(text) {
			*o = Op(i)
			return nil
		}
	}
	return fmt.Errorf("operation %q: want one of %v", text, opNames)
}

// changes reports whether the operation alters contents.
func (o Op) changes() bool { return o == Write || o == Trim || o == Zeroes }

// opOf returns the operation of an NBD command.
func opOf(cmd uint16) (op Op, ok bool) {
	switch cmd {
	case cmdRead:
		return Read, true
	case cmdWrite:
		return Write, true
	case cmdFlush:
		return Flush, true
	case cmdTrim:
		return Trim, true
	case cmdZeroes:
		return Zeroes, true
	}
	return 0, false
}
