// Package xz reads .xz streams as Debian packages have them, faster than general
// readers do: blocks of LZMA2 without other filters. It trusts nothing it reads and
// checks whatever the format lets be checked.
package xz

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

// ErrMalformed is any breach of the format; ErrUnsupported any part of it that this
// package does not read: filters beside LZMA2, and dictionaries beyond the bound.
var (
	ErrMalformed   = errors.New("xz: malformed")
	ErrUnsupported = errors.New("xz: unsupported")
)

// Reader gives the plain bytes of an .xz stream and then io.EOF. A stream that ends too
// early is io.ErrUnexpectedEOF.
type Reader struct {
	r       *bufio.Reader
	maxDict uint32
	err     error
	flags   [2]byte
	pairs   hash.Hash // of every block's sizes, to compare with the index
	blocks  uint64
	read    uint64 // bytes of r
	scratch [16]byte

	block  block
	window window
	lzma   lzma
}

// block is the block being read.
type block struct {
	open       bool
	start      uint64 // where it begins
	body       uint64 // where its compressed data begin
	written    uint64
	compressed uint64 // as its header says; 0 when it does not
	plain      uint64 // likewise
	check      hash.Hash
	dict       uint32
	needDict   bool
	needProps  bool
}

// window holds the dictionary, and what was decoded but not given yet.
type window struct {
	buf           []byte
	given, filled int
	total         uint32 // bytes since the dictionary was reset, modulo its far past
}

// NewReader reads the stream's header. No dictionary may be larger than maxDict bytes.
func NewReader(r io.Reader, maxDict uint32) (*Reader, error) {
	x := &Reader{r: bufio.NewReaderSize(r, 64<<10), maxDict: maxDict, pairs: sha256.New()}
	var h [12]byte
	if err := x.full(h[:]); err != nil {
		return nil, err
	}
	if string(h[:6]) != "\xfd7zXZ\x00" || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return nil, fmt.Errorf("%w: no stream header", ErrMalformed)
	}
	x.flags = [2]byte(h[6:8])
	if _, ok := newCheck(x.flags[1]); !ok || x.flags[0] != 0 {
		return nil, fmt.Errorf("%w: check %#x", ErrUnsupported, x.flags[1])
	}
	return x, nil
}

// newCheck gives the integrity check of a stream; nil for none.
func newCheck(id byte) (hash.Hash, bool) {
	switch id {
	case 0:
		return nil, true
	case 1:
		return crc32.NewIEEE(), true
	case 4:
		return crc64.New(crc64.MakeTable(crc64.ECMA)), true
	case 10:
		return sha256.New(), true
	}
	return nil, false
}

// Read gives decoded bytes.
func (x *Reader) Read(p []byte) (int, error) {
	for x.window.given == x.window.filled && x.err == nil && len(p) > 0 {
		x.err = x.step()
	}
	n := copy(p, x.window.buf[x.window.given:x.window.filled])
	x.window.given += n
	if n == 0 && len(p) > 0 {
		return 0, x.err
	}
	return n, nil
}

// step reads one block header, chunk or index.
func (x *Reader) step() error {
	if x.block.open {
		return x.chunk()
	}
	size, err := x.byte()
	if err != nil {
		return err
	}
	if size == 0 {
		return x.index()
	}
	return x.blockHeader(size)
}

func (x *Reader) blockHeader(size byte) error {
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if err := x.full(h[1:]); err != nil {
		return err
	}
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(h[len(body):]) || h[1]&0x3c != 0 {
		return fmt.Errorf("%w: block header", ErrMalformed)
	}
	x.block = block{open: true, start: x.read - uint64(len(h)), body: x.read, needDict: true, needProps: true}
	x.block.check, _ = newCheck(x.flags[1])
	r := bytes.NewReader(body[2:])
	for _, f := range []struct {
		bit byte
		to  *uint64
	}{{0x40, &x.block.compressed}, {0x80, &x.block.plain}} {
		if h[1]&f.bit == 0 {
			continue
		}
		n, err := vli(r)
		if err != nil || f.to == &x.block.compressed && n == 0 {
			return fmt.Errorf("%w: block header", ErrMalformed)
		}
		*f.to = n + 1 // so that 0 says that there is none
	}
	var filter [3]byte
	if _, err := io.ReadFull(r, filter[:]); err != nil {
		return fmt.Errorf("%w: block header", ErrMalformed)
	}
	if h[1]&3 != 0 || filter[0] != 0x21 || filter[1] != 1 || filter[2] > 40 {
		return fmt.Errorf("%w: filters", ErrUnsupported)
	}
	dict := uint64(1<<32 - 1)
	if b := filter[2]; b < 40 {
		dict = uint64(2|b&1) << (b/2 + 11)
	}
	if dict > uint64(x.maxDict) {
		return fmt.Errorf("%w: dictionary of %d bytes", ErrUnsupported, dict)
	}
	x.block.dict = uint32(dict)
	return zeros(r, r.Len())
}

// chunk reads one LZMA2 chunk into the window, or the block's end.
func (x *Reader) chunk() error {
	control, err := x.byte()
	if err != nil {
		return err
	}
	if control == 0 {
		return x.blockEnd()
	}
	b, w := &x.block, &x.window
	if control >= 0xe0 || control == 1 {
		b.needDict, b.needProps, w.total = false, true, 0
	}
	if b.needDict || control > 2 && control < 0x80 {
		return fmt.Errorf("%w: chunk", ErrMalformed)
	}
	h := x.scratch[:2]
	if control >= 0x80 {
		h = x.scratch[:4]
	}
	if err := x.full(h); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint16(h)) + 1
	if control < 0x80 {
		w.reserve(size, int(b.dict))
		if err := x.full(w.buf[w.filled : w.filled+size]); err != nil {
			return err
		}
	} else if size, err = x.lzmaChunk(control, size+int(control&0x1f)<<16, int(binary.BigEndian.Uint16(h[2:]))+1); err != nil {
		return err
	}
	if b.check != nil {
		b.check.Write(w.buf[w.filled : w.filled+size])
	}
	w.filled += size
	b.written += uint64(size)
	if w.total += uint32(size); w.total > 1<<31 {
		w.total -= 1 << 30 // nobody looks back that far, and alignment stays
	}
	return nil
}

func (x *Reader) lzmaChunk(control byte, size, packed int) (int, error) {
	b, w := &x.block, &x.window
	if control >= 0xc0 {
		props, err := x.byte()
		if err != nil {
			return 0, err
		}
		if !x.lzma.setProps(props) {
			return 0, fmt.Errorf("%w: properties", ErrMalformed)
		}
		b.needProps = false
	}
	if b.needProps {
		return 0, fmt.Errorf("%w: chunk without properties", ErrMalformed)
	}
	if control >= 0xa0 {
		x.lzma.reset()
	}
	if err := x.full(x.lzma.in[:packed]); err != nil {
		return 0, err
	}
	w.reserve(size, int(b.dict))
	if !x.lzma.run(packed, w.buf, w.filled, w.filled+size, w.total, b.dict) {
		return 0, fmt.Errorf("%w: data", ErrMalformed)
	}
	return size, nil
}

// reserve makes room for n more bytes: the buffer grows with what it holds up to two
// dictionaries, and beyond that only a dictionary of the past is kept.
func (w *window) reserve(n, dict int) {
	if w.filled+n <= len(w.buf) {
		return
	}
	if most := 2*dict + 2<<20; len(w.buf) < most {
		bigger := make([]byte, min(most, max(2*len(w.buf), w.filled+n)))
		copy(bigger, w.buf[:w.filled])
		w.buf = bigger
	}
	if w.filled+n > len(w.buf) {
		kept := copy(w.buf, w.buf[w.filled-min(dict, w.filled):w.filled])
		w.given, w.filled = kept, kept
	}
}

func (x *Reader) blockEnd() error {
	b := &x.block
	packed := x.read - b.body
	if b.compressed != 0 && b.compressed-1 != packed || b.plain != 0 && b.plain-1 != b.written {
		return fmt.Errorf("%w: block sizes", ErrMalformed)
	}
	if err := zeros(x, int(-packed&3)); err != nil {
		return err
	}
	unpadded := b.body - b.start + packed
	if b.check != nil {
		stored := make([]byte, b.check.Size())
		if err := x.full(stored); err != nil {
			return err
		}
		sum := b.check.Sum(nil)
		if b.check.Size() <= 8 {
			for i, j := 0, len(sum)-1; i < j; i, j = i+1, j-1 { // CRCs are little-endian
				sum[i], sum[j] = sum[j], sum[i]
			}
		}
		if !bytes.Equal(sum, stored) {
			return fmt.Errorf("%w: check of the content", ErrMalformed)
		}
		unpadded += uint64(len(stored))
	}
	addPair(x.pairs, unpadded, b.written)
	x.blocks++
	b.open = false
	return nil
}

func addPair(h hash.Hash, unpadded, plain uint64) {
	var pair [16]byte
	binary.LittleEndian.PutUint64(pair[:], unpadded)
	binary.LittleEndian.PutUint64(pair[8:], plain)
	h.Write(pair[:])
}

// index reads the index, whose first byte is read already, and the footer, and gives
// io.EOF.
func (x *Reader) index() error {
	start := x.read - 1
	crc := crc32.NewIEEE()
	crc.Write([]byte{0})
	in := &tee{x, crc}
	pairs := sha256.New()
	n, err := vli(in)
	for i := uint64(0); err == nil && i < min(n, x.blocks); i++ {
		var unpadded, plain uint64
		if unpadded, err = vli(in); err == nil {
			plain, err = vli(in)
		}
		addPair(pairs, unpadded, plain)
	}
	if err != nil {
		return err
	}
	if n != x.blocks || !bytes.Equal(pairs.Sum(nil), x.pairs.Sum(nil)) {
		return fmt.Errorf("%w: index", ErrMalformed)
	}
	if err := zeros(in, int(-(x.read-start)&3)); err != nil {
		return err
	}
	size := x.read - start + 4
	var f [16]byte // the index's check and the footer
	if err := x.full(f[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(f[:]) != crc.Sum32() || binary.LittleEndian.Uint32(f[4:]) != crc32.ChecksumIEEE(f[8:14]) ||
		(uint64(binary.LittleEndian.Uint32(f[8:]))+1)*4 != size || [2]byte(f[12:14]) != x.flags || string(f[14:]) != "YZ" {
		return fmt.Errorf("%w: footer", ErrMalformed)
	}
	if _, err := x.r.ReadByte(); err != nil {
		return err // io.EOF, as it should be
	}
	return fmt.Errorf("%w: bytes after the end", ErrMalformed)
}

// full reads all of p.
func (x *Reader) full(p []byte) error {
	n, err := io.ReadFull(x.r, p)
	x.read += uint64(n)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (x *Reader) byte() (byte, error) {
	err := x.full(x.scratch[:1])
	return x.scratch[0], err
}

// ReadByte reads a byte of the packed stream.
func (x *Reader) ReadByte() (byte, error) { return x.byte() }

// tee hashes what is read.
type tee struct {
	x *Reader
	h hash.Hash
}

func (t *tee) ReadByte() (byte, error) {
	b, err := t.x.byte()
	if err == nil {
		t.h.Write([]byte{b})
	}
	return b, err
}

// zeros reads n bytes that must be zero.
func zeros(r io.ByteReader, n int) error {
	for range n {
		b, err := r.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return fmt.Errorf("%w: padding", ErrMalformed)
		}
	}
	return nil
}

// vli reads a variable-length integer: at most nine bytes, the shortest form.
func vli(r io.ByteReader) (uint64, error) {
	var v uint64
	for i := range 9 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if b == 0 && i > 0 {
				break
			}
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: number", ErrMalformed)
}
