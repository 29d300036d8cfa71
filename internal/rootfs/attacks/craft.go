package attacks

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
)

// tarEntry is one tar entry, well formed or not.
type tarEntry struct {
	name string
	kind byte // '0' when zero
	body string
	link string
	mode int64 // 0644, of directories 0755, when zero
	uid  int
	edit func(header []byte) // last change, before the checksum
}

// tarOf writes a GNU tar as dpkg-deb does.
func tarOf(entries ...tarEntry) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		e.write(&b)
	}
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

func (e tarEntry) write(w io.Writer) {
	if e.kind == 0 {
		e.kind = '0'
	}
	if e.mode == 0 {
		e.mode = 0o644
		if e.kind == '5' {
			e.mode = 0o755
		}
	}
	if len(e.name) > 100 && e.kind != 'L' {
		tarEntry{name: "././@LongLink", kind: 'L', body: e.name + "\x00"}.write(w)
		e.name = e.name[:100]
	}
	h := make([]byte, 512)
	copy(h, e.name)
	copy(h[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00", e.mode, e.uid, 0, len(e.body), 1700000000))
	h[156] = e.kind
	copy(h[157:257], e.link)
	copy(h[257:], "ustar  \x00root\x00")
	if e.edit != nil {
		e.edit(h)
	}
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	w.Write(h)
	io.WriteString(w, e.body)
	w.Write(make([]byte, (512-len(e.body)%512)%512))
}

// member is one member of an ar archive.
type member struct {
	name string
	body []byte
	size string // when not the body's
}

func arOf(members ...member) []byte {
	b := bytes.NewBufferString("!<arch>\n")
	for _, m := range members {
		if m.size == "" {
			m.size = fmt.Sprint(len(m.body))
		}
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10s`\n", m.name, 0, 0, 0, "100644", m.size)
		b.Write(m.body)
		if len(m.body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

var debianBinary = member{name: "debian-binary", body: []byte("2.0\n")}

// controlTar is the control part of a package without scripts.
func controlTar(name string) member {
	text := fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: all\n", name)
	return member{name: "control.tar", body: tarOf(tarEntry{name: "./", kind: '5'}, tarEntry{name: "./control", body: text})}
}

// debOf makes a package of data entries.
func debOf(name string, entries ...tarEntry) []byte {
	return arOf(debianBinary, controlTar(name), member{name: "data.tar", body: tarOf(entries...)})
}

func gzipped(write func(io.Writer)) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	write(z)
	z.Close()
	return b.Bytes()
}

// pax is an extended header record followed by the file it is about.
func pax(kind byte, records ...string) []tarEntry {
	var body string
	for _, r := range records {
		n := len(r) + 3
		for len(fmt.Sprintf("%d %s\n", n, r)) != n {
			n++
		}
		body += fmt.Sprintf("%d %s\n", n, r)
	}
	return []tarEntry{{name: "./PaxHeaders/x", kind: kind, body: body}, {name: "./x", body: "x"}}
}
