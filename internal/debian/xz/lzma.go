package xz

// Sizes and places of the LZMA state machine (as in the xz file format and the LZMA
// specification).
const (
	lenLow    = 2
	lenMid    = lenLow + 16<<3
	lenHigh   = lenMid + 16<<3
	lenProbs  = lenHigh + 256
	half      = 1024 // an untaught probability, of 2048
	topValue  = 1 << 24
	inputMask = 1<<17 - 1 // a chunk has at most 64 KiB; a symbol reads far less than that
)

// lzma decodes the LZMA chunks of an LZMA2 stream. Its input is a whole chunk in a
// buffer that is indexed through a mask, so the inner loops need no check of its end:
// a symbol that reads beyond it decodes stale bytes, and the chunk is refused.
type lzma struct {
	literal    [16][0x300]uint16
	isMatch    [12 << 4]uint16
	isRep      [12]uint16
	isRep0     [12]uint16
	isRep1     [12]uint16
	isRep2     [12]uint16
	isRep0Long [12 << 4]uint16
	slot       [4][64]uint16
	special    [128]uint16
	align      [16]uint16
	matchLen   [lenProbs]uint16
	repLen     [lenProbs]uint16

	lc, lp, pb uint32
	state      uint32
	rep        [4]uint32

	in        [inputMask + 1]byte
	pos       uint32 // in in
	rng, code uint32
}

// reset forgets everything learnt.
func (d *lzma) reset() {
	d.state, d.rep = 0, [4]uint32{}
	for i := range d.literal {
		fill(d.literal[i][:])
	}
	for i := range d.slot {
		fill(d.slot[i][:])
	}
	for _, p := range [][]uint16{
		d.isMatch[:], d.isRep[:], d.isRep0[:], d.isRep1[:], d.isRep2[:], d.isRep0Long[:],
		d.special[:], d.align[:], d.matchLen[:], d.repLen[:],
	} {
		fill(p)
	}
}

func fill(p []uint16) {
	for i := range p {
		p[i] = half
	}
}

// setProps takes the properties byte, lc + 9*(lp + 5*pb) with lc+lp at most 4.
func (d *lzma) setProps(b byte) bool {
	d.lc, d.lp, d.pb = uint32(b%9), uint32(b/9%5), uint32(b/45)
	return b < 9*5*5 && d.lc+d.lp <= 4
}

// run decodes one chunk of n input bytes into out[w:limit]. total is how many bytes
// came since the dictionary was reset, dict how far back a match may reach. False
// means that the chunk is malformed.
func (d *lzma) run(n int, out []byte, w, limit int, total, dict uint32) bool {
	if n < 5 || d.in[0] != 0 {
		return false
	}
	d.rng, d.code, d.pos = 1<<32-1, uint32(d.in[1])<<24|uint32(d.in[2])<<16|uint32(d.in[3])<<8|uint32(d.in[4]), 5
	out = out[:limit]
	posMask, lpMask, lcShift := uint32(1)<<d.pb-1, uint32(1)<<d.lp-1, 8-d.lc
	base := total - uint32(w)
	for w < limit {
		at := base + uint32(w)
		posState := at & posMask
		if d.bit(&d.isMatch[(d.state<<4|posState)%uint32(len(d.isMatch))]) == 0 {
			var prev uint32
			if at > 0 {
				prev = uint32(out[w-1])
			}
			p := &d.literal[((at&lpMask)<<d.lc+prev>>lcShift)&15]
			if d.state < 7 {
				out[w] = d.plainLiteral(p)
			} else {
				out[w] = d.matchedLiteral(p, uint32(out[w-int(d.rep[0])-1]))
			}
			w++
			switch {
			case d.state < 4:
				d.state = 0
			case d.state < 10:
				d.state -= 3
			default:
				d.state -= 6
			}
			if d.pos > uint32(n) {
				return false
			}
			continue
		}
		length := d.match(posState)
		dist := d.rep[0]
		if d.pos > uint32(n) || dist >= at || dist >= dict || length > limit-w {
			return false
		}
		from := w - int(dist) - 1
		if length <= int(dist)+1 {
			copy(out[w:w+length], out[from:])
		} else {
			for i := range length {
				out[w+i] = out[from+i]
			}
		}
		w += length
	}
	return d.pos == uint32(n) && d.code == 0
}

// bit decodes one bit with an adaptive probability.
func (d *lzma) bit(p *uint16) uint32 {
	v := uint32(*p)
	bound := (d.rng >> 11) * v
	var b uint32
	if d.code < bound {
		d.rng = bound
		*p = uint16(v + (2048-v)>>5)
	} else {
		d.rng -= bound
		d.code -= bound
		*p = uint16(v - v>>5)
		b = 1
	}
	if d.rng < topValue {
		d.rng <<= 8
		d.code = d.code<<8 | uint32(d.in[d.pos&inputMask])
		d.pos++
	}
	return b
}

// plainLiteral decodes a byte, its highest bit first. Bits of literals are hard to
// predict, so arithmetic takes the place of branches here and in the trees below:
// mask is all ones for a 0 bit.
func (d *lzma) plainLiteral(p *[0x300]uint16) byte {
	rng, code, pos := d.rng, d.code, d.pos
	sym := uint32(1)
	for sym < 0x100 {
		q := &p[sym&0xff]
		v := uint32(*q)
		bound := (rng >> 11) * v
		mask := uint32(int64(uint64(code)-uint64(bound)) >> 63)
		rng = rng - bound + mask&(2*bound-rng)
		code -= bound &^ mask
		*q = uint16(int32(v) - (int32(v)+int32(mask)&-2017)>>5)
		sym = sym<<1 + 1 + mask
		if rng < topValue {
			rng <<= 8
			code = code<<8 | uint32(d.in[pos&inputMask])
			pos++
		}
	}
	d.rng, d.code, d.pos = rng, code, pos
	return byte(sym)
}

// matchedLiteral decodes a byte right after a match, told by the byte that would have
// gone on with the match.
func (d *lzma) matchedLiteral(p *[0x300]uint16, match uint32) byte {
	rng, code, pos := d.rng, d.code, d.pos
	sym, offset := uint32(1), uint32(0x100)
	for sym < 0x100 {
		match <<= 1
		told := match & offset
		q := &p[(offset+told+sym)%uint32(len(p))]
		v := uint32(*q)
		bound := (rng >> 11) * v
		mask := uint32(int64(uint64(code)-uint64(bound)) >> 63)
		rng = rng - bound + mask&(2*bound-rng)
		code -= bound &^ mask
		*q = uint16(int32(v) - (int32(v)+int32(mask)&-2017)>>5)
		sym = sym<<1 + 1 + mask
		offset &= told ^ mask
		if rng < topValue {
			rng <<= 8
			code = code<<8 | uint32(d.in[pos&inputMask])
			pos++
		}
	}
	d.rng, d.code, d.pos = rng, code, pos
	return byte(sym)
}

// tree decodes n bits, the highest first.
func (d *lzma) tree(p []uint16, n uint32) uint32 {
	rng, code, pos := d.rng, d.code, d.pos
	sym := uint32(1)
	for range n {
		q := &p[sym]
		v := uint32(*q)
		bound := (rng >> 11) * v
		mask := uint32(int64(uint64(code)-uint64(bound)) >> 63)
		rng = rng - bound + mask&(2*bound-rng)
		code -= bound &^ mask
		*q = uint16(int32(v) - (int32(v)+int32(mask)&-2017)>>5)
		sym = sym<<1 + 1 + mask
		if rng < topValue {
			rng <<= 8
			code = code<<8 | uint32(d.in[pos&inputMask])
			pos++
		}
	}
	d.rng, d.code, d.pos = rng, code, pos
	return sym - 1<<n
}

// reverse decodes n bits, the lowest first.
func (d *lzma) reverse(p []uint16, n uint32) uint32 {
	sym, value := uint32(1), uint32(0)
	for i := range n {
		b := d.bit(&p[sym])
		sym = sym<<1 | b
		value |= b << i
	}
	return value
}

// direct decodes n equally likely bits, the highest first.
func (d *lzma) direct(n uint32) uint32 {
	value := uint32(0)
	for range n {
		d.rng >>= 1
		d.code -= d.rng
		mask := -(d.code >> 31) // all ones for a 0 bit
		d.code += d.rng & mask
		value = value<<1 + mask + 1
		if d.rng < topValue {
			d.rng <<= 8
			d.code = d.code<<8 | uint32(d.in[d.pos&inputMask])
			d.pos++
		}
	}
	return value
}

// match decodes a match or a repeated one: its length; its distance becomes rep[0].
func (d *lzma) match(posState uint32) int {
	s := d.state
	if d.bit(&d.isRep[s]) == 0 {
		d.rep[3], d.rep[2], d.rep[1] = d.rep[2], d.rep[1], d.rep[0]
		d.state = after(s, 7, 10)
		length := d.length(&d.matchLen, posState)
		d.rep[0] = d.distance(length)
		return length
	}
	if d.bit(&d.isRep0[s]) == 0 {
		if d.bit(&d.isRep0Long[s<<4|posState]) == 0 {
			d.state = after(s, 9, 11)
			return 1
		}
	} else if d.bit(&d.isRep1[s]) == 0 {
		d.rep[0], d.rep[1] = d.rep[1], d.rep[0]
	} else if d.bit(&d.isRep2[s]) == 0 {
		d.rep[0], d.rep[1], d.rep[2] = d.rep[2], d.rep[0], d.rep[1]
	} else {
		d.rep[0], d.rep[1], d.rep[2], d.rep[3] = d.rep[3], d.rep[0], d.rep[1], d.rep[2]
	}
	d.state = after(s, 8, 11)
	return d.length(&d.repLen, posState)
}

// after gives the state that follows a match: one value after literals, else another.
func after(state, literals, matches uint32) uint32 {
	if state < 7 {
		return literals
	}
	return matches
}

func (d *lzma) length(p *[lenProbs]uint16, posState uint32) int {
	if d.bit(&p[0]) == 0 {
		return 2 + int(d.tree(p[lenLow+posState<<3:], 3))
	}
	if d.bit(&p[1]) == 0 {
		return 10 + int(d.tree(p[lenMid+posState<<3:], 3))
	}
	return 18 + int(d.tree(p[lenHigh:], 8))
}

func (d *lzma) distance(length int) uint32 {
	slot := d.tree(d.slot[min(length-2, 3)][:], 6)
	if slot < 4 {
		return slot
	}
	n := slot>>1 - 1
	high := (2 | slot&1) << n
	if slot < 14 {
		return high + d.reverse(d.special[high-slot:], n)
	}
	return high + d.direct(n-4)<<4 + d.reverse(d.align[:], 4)
}
