package archivetest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// XZ wraps data in an xz stream (xz file format 1.2) whose one LZMA2 block holds it
// uncompressed: the shortest writer that every reader understands.
func XZ(data []byte) []byte {
	var block bytes.Buffer
	for first, rest := true, data; len(rest) > 0; first = false {
		n := min(len(rest), 1<<16)
		control := byte(2) // an uncompressed chunk; 1 also resets the dictionary
		if first {
			control = 1
		}
		block.WriteByte(control)
		must(binary.Write(&block, binary.BigEndian, uint16(n-1)))
		block.Write(rest[:n])
		rest = rest[n:]
	}
	block.WriteByte(0)

	flags := []byte{0, 1} // CRC32 of the content
	var out bytes.Buffer
	out.WriteString("\xfd7zXZ\x00")
	out.Write(flags)
	out.Write(crc(flags))
	header := []byte{2, 0, 0x21, 1, 16, 0, 0, 0} // 12 bytes with its CRC; one filter: LZMA2, 1 MiB dictionary
	out.Write(header)
	out.Write(crc(header))
	out.Write(block.Bytes())
	pad(&out, block.Len())
	out.Write(crc(data))

	unpadded := uint64(len(header) + 4 + block.Len() + 4)
	index := binary.AppendUvarint([]byte{0, 1}, unpadded)
	index = binary.AppendUvarint(index, uint64(len(data)))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	out.Write(index)
	out.Write(crc(index))
	backward := binary.LittleEndian.AppendUint32(nil, uint32((len(index)+4)/4-1))
	footer := append(backward, flags...)
	out.Write(crc(footer))
	out.Write(footer)
	out.WriteString("YZ")
	return out.Bytes()
}

func crc(data []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
}

func pad(b *bytes.Buffer, written int) {
	for ; written%4 != 0; written++ {
		b.WriteByte(0)
	}
}
