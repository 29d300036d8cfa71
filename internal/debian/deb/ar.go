package deb

import (
	"errors"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
	// deb(5) has three members; some signers append a few of their own.
	maxMembers = 64
)

// members are the two compressed tars of a package file.
type members struct {
	control, data             *io.SectionReader
	controlSuffix, dataSuffix string
}

// readMembers finds the members in deb(5)'s order: debian-binary, control.tar, data.tar.
// Members whose name begins with "_" may stand between, anything may follow.
func readMembers(r io.ReaderAt, size int64) (members, error) {
	var m members
	magic := make([]byte, len(arMagic))
	if err := readAt(r, magic, 0, size); err != nil {
		return m, err
	}
	if string(magic) != arMagic {
		return m, malformed("not an ar archive")
	}
	version := false
	offset := int64(len(arMagic))
	for n := 0; offset < size; n++ {
		if n == maxMembers {
			return m, malformed("more than %d archive members", maxMembers)
		}
		name, body, err := readMember(r, offset, size)
		if err != nil {
			return m, err
		}
		offset += arHeader + body.Size() + body.Size()%2
		switch {
		case !version:
			if err := checkVersion(name, body); err != nil {
				return m, err
			}
			version = true
		case strings.HasPrefix(name, "_"):
		default:
			if err := m.take(name, body); err != nil {
				return m, err
			}
		}
	}
	if m.data == nil {
		return m, malformed("no debian-binary, control.tar and data.tar members")
	}
	return m, nil
}

// readMember reads the header at offset; body is the member's content.
func readMember(r io.ReaderAt, offset, size int64) (string, *io.SectionReader, error) {
	h := make([]byte, arHeader)
	if err := readAt(r, h, offset, size); err != nil {
		return "", nil, err
	}
	name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	if h[58] != '`' || h[59] != '\n' {
		return "", nil, malformed("archive member %q has no valid header", name)
	}
	field := strings.TrimRight(string(h[48:58]), " ")
	length, err := strconv.ParseUint(field, 10, 63)
	if err != nil || strings.HasPrefix(field, "+") {
		return "", nil, malformed("archive member %q has the size %q", name, field)
	}
	if int64(length) > size-offset-arHeader {
		return "", nil, malformed("archive member %q is longer than the file", name)
	}
	return name, io.NewSectionReader(r, offset+arHeader, int64(length)), nil
}

func checkVersion(name string, body *io.SectionReader) error {
	if name != "debian-binary" {
		return malformed("first archive member is %q, not debian-binary", name)
	}
	text := make([]byte, min(body.Size(), 64))
	if _, err := body.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	line, _, ok := strings.Cut(string(text), "\n")
	minor, found := strings.CutPrefix(line, "2.")
	if _, err := strconv.ParseUint(minor, 10, 16); !ok || !found || err != nil {
		return malformed("package format version %q is not 2.x", line)
	}
	return nil
}

// take assigns a member that follows debian-binary.
func (m *members) take(name string, body *io.SectionReader) error {
	suffix, isControl := strings.CutPrefix(name, "control.tar")
	dataSuffix, isData := strings.CutPrefix(name, "data.tar")
	switch {
	case isControl && m.control == nil:
		m.control, m.controlSuffix = body, suffix
	case isData && m.control != nil && m.data == nil:
		m.data, m.dataSuffix = body, dataSuffix
	case isControl || isData || name == "debian-binary":
		return malformed("archive member %q is repeated or out of order", name)
	case m.data == nil:
		return malformed("archive member %q stands before data.tar", name)
	}
	return nil
}

func readAt(r io.ReaderAt, b []byte, offset, size int64) error {
	if int64(len(b)) > size-offset {
		return malformed("file ends within an archive header")
	}
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	return err
}
