package ublk

import "unsafe"

// The kernel's interface: include/uapi/linux/ublk_cmd.h as of Linux 7.3, the parts this package
// uses, in the byte order of the machine. A constant or field that is younger than 6.12, the oldest
// kernel supported, says so.

// ctrlCmd is struct ublksrv_ctrl_cmd, at offset 48 of a 128-byte submission queue entry.
type ctrlCmd struct {
	devID   uint32
	queueID uint16 // noQueue unless the command is for a queue
	len     uint16 // of what addr points to
	addr    uint64
	data    uint64
	_       uint16 // dev_path_len, for unprivileged devices
	_       uint16
	_       uint32
}

// devInfo is struct ublksrv_ctrl_dev_info.
type devInfo struct {
	nrHWQueues    uint16
	queueDepth    uint16
	state         uint16
	_             uint16 // io_desc_size, 7.3; padding before
	maxIOBufBytes uint32
	devID         uint32
	ublksrvPID    int32
	_             uint32
	flags         uint64
	_             uint64 // ublksrv_flags, not the kernel's
	ownerUID      uint32 // the kernel's, with the next
	_             uint32 // owner_gid
	_             [2]uint64
}

// ioDesc is struct ublksrv_io_desc: one request, in the memory mapped from /dev/ublkcN.
type ioDesc struct {
	opFlags     uint32 // operation in bits 0-7, UBLK_IO_F_ flags in place above
	nrSectors   uint32
	startSector uint64
	addr        uint64
}

// rawParams is struct ublk_params up to and including the discard parameters, which is all that is
// set; the kernel accepts a shorter struct than its own.
type rawParams struct {
	len     uint32
	types   uint32
	basic   rawBasic
	discard rawDiscard
}

// rawBasic is struct ublk_param_basic.
type rawBasic struct {
	attrs           uint32
	logicalBSShift  uint8
	physicalBSShift uint8
	ioOptShift      uint8
	ioMinShift      uint8
	maxSectors      uint32
	_               uint32 // chunk_sectors
	devSectors      uint64
	_               uint64 // virt_boundary_mask
}

// rawDiscard is struct ublk_param_discard.
type rawDiscard struct {
	_                     uint32 // discard_alignment
	granularity           uint32
	maxSectors            uint32
	maxWriteZeroesSectors uint32
	maxSegments           uint16
	_                     uint16
}

// Sizes and offsets of the header; a difference does not compile.
const (
	_ = -uint(unsafe.Sizeof(ctrlCmd{}) ^ 32)
	_ = -uint(unsafe.Sizeof(devInfo{}) ^ 64)
	_ = -uint(unsafe.Offsetof(devInfo{}.flags) ^ 24)
	_ = -uint(unsafe.Offsetof(devInfo{}.ownerUID) ^ 40)
	_ = -uint(unsafe.Sizeof(ioDesc{}) ^ descSize)
	_ = -uint(unsafe.Offsetof(ioDesc{}.startSector) ^ 8)
	_ = -uint(unsafe.Offsetof(rawParams{}.basic) ^ 8)
	_ = -uint(unsafe.Offsetof(rawParams{}.discard) ^ 40)
	_ = -uint(unsafe.Offsetof(rawDiscard{}.maxSegments) ^ 16)
	_ = -uint(unsafe.Offsetof(rawBasic{}.devSectors) ^ 16)
	_ = -uint(unsafe.Sizeof(rawParams{}) ^ 64)
)

const (
	descSize    = 24
	sectorShift = 9
	noQueue     = 0xffff
	anyDevice   = 0xffffffff

	// MaxDepth is the largest queue depth (UBLK_MAX_QUEUE_DEPTH).
	MaxDepth = 4096
	// MaxIOBytes is the largest request, by the 25 bits that offsets in it have.
	MaxIOBytes = 32 << 20
)

// cmdCode encodes a command as the header's _IOR and _IOWR do.
const (
	iocRead      = 2 << 30
	iocReadWrite = 3 << 30
	ctrlCode     = 32<<16 | 'u'<<8
	ioCode       = 16<<16 | 'u'<<8
)

// Control commands, UBLK_U_CMD_; the ioctl encoding is of 6.4.
const (
	cmdGetQueueAffinity = iocRead | ctrlCode | 0x01
	cmdGetDevInfo       = iocRead | ctrlCode | 0x02
	cmdAddDev           = iocReadWrite | ctrlCode | 0x04
	cmdDelDev           = iocReadWrite | ctrlCode | 0x05
	cmdStartDev         = iocReadWrite | ctrlCode | 0x06
	cmdStopDev          = iocReadWrite | ctrlCode | 0x07
	cmdSetParams        = iocReadWrite | ctrlCode | 0x08
	cmdGetParams        = iocRead | ctrlCode | 0x09
	cmdStartRecovery    = iocReadWrite | ctrlCode | 0x10 // 6.1
	cmdEndRecovery      = iocReadWrite | ctrlCode | 0x11 // 6.1
	cmdGetFeatures      = iocRead | ctrlCode | 0x13      // 6.5
	cmdUpdateSize       = iocReadWrite | ctrlCode | 0x15 // 6.16
	cmdQuiesceDev       = iocReadWrite | ctrlCode | 0x16 // 6.16
	cmdTryStopDev       = iocReadWrite | ctrlCode | 0x17 // 7.0
)

// I/O commands, UBLK_U_IO_, with struct ublksrv_io_cmd in the 16 command bytes.
const (
	ioFetch          = iocReadWrite | ioCode | 0x20
	ioCommitAndFetch = iocReadWrite | ioCode | 0x21
)

// ioCmd encodes struct ublksrv_io_cmd: queue, tag and result in the first word. The second word,
// a buffer address, must be 0 with USER_COPY.
func ioCmd(queue, tag uint16, result int32) (word0, word1 uint64) {
	return uint64(queue) | uint64(tag)<<16 | uint64(uint32(result))<<32, 0
}

// Positions in /dev/ublkcN.
const (
	ioBufOffset = 0x80000000 // UBLKSRV_IO_BUF_OFFSET
	tagShift    = 25         // UBLK_TAG_OFF
	queueShift  = 41         // UBLK_QID_OFF
)

// copyPos is where the bytes of a request from off on are read and written.
func copyPos(queue, tag uint16, off int64) int64 {
	return ioBufOffset + int64(queue)<<queueShift + int64(tag)<<tagShift + off
}

// descLen is the length of a queue's descriptors as they are mapped, descPos where.
func descLen(depth int) int { return roundPage(depth * descSize) }

func descPos(queue int) int64 { return int64(queue) * int64(descLen(MaxDepth)) }

func roundPage(n int) int { return (n + 4095) &^ 4095 }

// Parameter types, UBLK_PARAM_TYPE_, and attributes, UBLK_ATTR_.
const (
	paramBasic   = 1 << 0
	paramDiscard = 1 << 1

	attrReadOnly      = 1 << 0
	attrRotational    = 1 << 1
	attrVolatileCache = 1 << 2
	attrFUA           = 1 << 3
)
