package deb

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Type says what an entry of a package is.
type Type byte

// The types that a package may hold.
const (
	File      Type = '0'
	Hardlink  Type = '1'
	Symlink   Type = '2'
	Directory Type = '5'
)

// Entry is one entry of a package's data part, checked: its path is relative, clean
// UTF-8 without control characters and cannot lead out of the root.
type Entry struct {
	Path   string // "usr/bin/curl"; "" is the root directory
	Type   Type
	Mode   uint32 // permission bits, 07777
	UID    int
	GID    int
	MTime  int64  // seconds since 1970
	Size   int64  // bytes of a file's content
	Target string // of a symlink as shipped; of a hardlink a path like Path
}

const (
	block        = 512
	maxPath      = 4096 // bytes, as Linux's PATH_MAX
	maxComponent = 255  // bytes, as Linux's NAME_MAX
)

// tarReader reads the tar that dpkg-deb writes: GNU or POSIX ustar headers, long names
// as GNU L and K records, numbers in octal; no PAX records, no sparse files, no
// devices. Read gives the content of the current entry.
type tarReader struct {
	r       *bufio.Reader
	close   func()
	head    [block]byte
	left    int64 // bytes of the current content not read
	pad     int64 // bytes of padding after it
	entries int
	limit   int64 // bytes of the whole tar
}

func newTarReader(r io.Reader, suffix string, limit int64) (*tarReader, error) {
	plain, done, err := decompress(r, suffix)
	if err != nil {
		return nil, err
	}
	return &tarReader{r: bufio.NewReaderSize(&plainReader{r: plain, left: limit}, 128<<10), close: done, limit: limit}, nil
}

func (t *tarReader) Read(b []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	if int64(len(b)) > t.left {
		b = b[:t.left]
	}
	n, err := t.r.Read(b)
	t.left -= int64(n)
	if errors.Is(err, io.EOF) && t.left > 0 {
		err = malformed("tar ends within a file")
	}
	return n, err
}

// next goes to the next entry; io.EOF after the last one, once everything that follows
// is known to be zeros and the compressed stream is known to be whole.
func (t *tarReader) next() (Entry, error) {
	var name, link string
	for {
		kind, size, err := t.header()
		if err != nil {
			return Entry{}, err
		}
		switch kind {
		case 'L', 'K':
			text, err := t.longName(size)
			if err != nil {
				return Entry{}, err
			}
			if kind == 'L' && name == "" {
				name = text
			} else if kind == 'K' && link == "" {
				link = text
			} else {
				return Entry{}, malformed("repeated long-name record %q", text)
			}
		default:
			if name == "" {
				name = t.name()
			}
			if link == "" {
				link = text(t.head[157:257])
			}
			return t.entry(kind, size, name, link)
		}
	}
}

// header reads a header block and leaves its content to be read.
func (t *tarReader) header() (kind byte, size int64, err error) {
	if _, err := io.Copy(io.Discard, t); err != nil {
		return 0, 0, err
	}
	if _, err := t.r.Discard(int(t.pad)); err != nil {
		return 0, 0, cutShort(err)
	}
	t.pad = 0
	if err := t.block(); err != nil {
		return 0, 0, err
	}
	if t.head == [block]byte{} {
		return 0, 0, t.end()
	}
	if t.entries++; t.entries > maxEntries {
		return 0, 0, tooLarge("more than %d entries", maxEntries)
	}
	if err := t.checkHeader(); err != nil {
		return 0, 0, err
	}
	if size, err = octal(t.head[124:136]); err != nil {
		return 0, 0, malformed("entry %q: size: %v", t.name(), err)
	}
	return t.head[156], size, nil
}

func (t *tarReader) block() error {
	_, err := io.ReadFull(t.r, t.head[:])
	return cutShort(err)
}

// end checks that a second zero block follows the first, and then only zeros.
func (t *tarReader) end() error {
	buf := make([]byte, 32<<10)
	for total := 0; ; {
		n, err := t.r.Read(buf)
		total += n
		for _, c := range buf[:n] {
			if c != 0 {
				return malformed("data after the end of the tar")
			}
		}
		if errors.Is(err, io.EOF) && total < block {
			return malformed("tar ends with half its mark")
		}
		if err != nil {
			return err
		}
	}
}

func (t *tarReader) checkHeader() error {
	magic := string(t.head[257:265])
	if magic != "ustar  \x00" && magic != "ustar\x0000" {
		return malformed("entry %q has no ustar header", t.name())
	}
	want, err := octal(t.head[148:156])
	if err != nil {
		return malformed("entry %q: checksum: %v", t.name(), err)
	}
	var sum int64
	for i, c := range t.head {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	if sum != want {
		return malformed("entry %q has a wrong header checksum", t.name())
	}
	return nil
}

// name is the header's own name; POSIX headers split long ones.
func (t *tarReader) name() string {
	name := text(t.head[0:100])
	if prefix := text(t.head[345:500]); prefix != "" && t.head[263] == '0' {
		return prefix + "/" + name
	}
	return name
}

func (t *tarReader) longName(size int64) (string, error) {
	if size > maxPath+1 {
		return "", malformed("long-name record of %d bytes", size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(t.r, data); err != nil {
		return "", cutShort(err)
	}
	t.pad = padding(size)
	s := strings.TrimSuffix(string(data), "\x00")
	if s == "" || strings.Contains(s, "\x00") {
		return "", malformed("long-name record %q", s)
	}
	return s, nil
}

// entry checks everything about an entry but its content.
func (t *tarReader) entry(kind byte, size int64, name, link string) (Entry, error) {
	if kind == 0 {
		kind = byte(File)
	}
	e := Entry{Type: Type(kind), Size: size}
	switch e.Type {
	case File, Directory, Symlink, Hardlink:
	default:
		return e, malformed("entry %q has the type %q; packages hold only files, directories and links", name, kind)
	}
	if size > t.limit {
		return e, tooLarge("entry %q has %d bytes", name, size)
	}
	if e.Type != File && size != 0 {
		return e, malformed("entry %q is no file but has content", name)
	}
	clean := name
	if e.Type == Directory {
		clean = strings.TrimSuffix(clean, "/")
	}
	var err error
	if e.Path, err = CleanPath(clean); err != nil {
		return e, malformed("entry %q: %v", name, err)
	}
	if e.Path == "" && e.Type != Directory {
		return e, malformed("entry %q: the root is not a directory", name)
	}
	if err := e.attributes(&t.head); err != nil {
		return e, malformed("entry %q: %v", name, err)
	}
	if err := e.setTarget(link); err != nil {
		return e, malformed("entry %q: link target %q: %v", name, link, err)
	}
	t.left, t.pad = size, padding(size)
	return e, nil
}

func (e *Entry) attributes(h *[block]byte) error {
	var numbers [4]int64
	for i, f := range [][]byte{h[100:108], h[108:116], h[116:124], h[136:148]} {
		n, err := octal(f)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	if numbers[0]&^0o177777 != 0 || numbers[1] > 1<<31-2 || numbers[2] > 1<<31-2 {
		return errors.New("mode, owner or group out of range")
	}
	e.Mode, e.UID, e.GID = uint32(numbers[0]&0o7777), int(numbers[1]), int(numbers[2])
	e.MTime = numbers[3]
	return nil
}

func (e *Entry) setTarget(link string) error {
	var err error
	switch e.Type {
	case Hardlink:
		if e.Target, err = CleanPath(link); err == nil && e.Target == "" {
			err = errors.New("no path")
		}
	case Symlink:
		e.Target, err = link, checkText(link)
		if err == nil && link == "" {
			err = errors.New("empty")
		}
	}
	return err
}

// CleanPath checks a path of a package, with or without "./" before it, and gives it
// in the one form that Entry has. The error says what is wrong, without the path.
func CleanPath(path string) (string, error) {
	if path == "." || path == "./" {
		return "", nil
	}
	path = strings.TrimPrefix(path, "./")
	if err := checkText(path); err != nil {
		return "", err
	}
	if strings.HasPrefix(path, "/") {
		return "", errors.New("absolute path")
	}
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return "", errors.New("path is not clean")
		case len(part) > maxComponent:
			return "", errors.New("path component longer than 255 bytes")
		case strings.HasPrefix(part, ".wh."):
			return "", errors.New("path is an image layer's deletion mark")
		}
	}
	return path, nil
}

func checkText(s string) error {
	if len(s) > maxPath {
		return errors.New("longer than 4096 bytes")
	}
	if !utf8.ValidString(s) {
		return errors.New("not UTF-8")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("control character")
	}
	return nil
}

// octal reads a tar number: octal digits, then spaces or zero bytes. Base-256 numbers,
// which could be negative or huge, are refused.
func octal(field []byte) (int64, error) {
	s := strings.TrimLeft(strings.TrimRight(string(field), " \x00"), " ")
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '7' {
			return 0, errors.New("not an octal number")
		}
		n = n<<3 | int64(c-'0')
	}
	return n, nil // 12 digits are 36 bits: no overflow
}

// text is a field up to its first zero byte.
func text(field []byte) string {
	s, _, _ := strings.Cut(string(field), "\x00")
	return s
}

func padding(size int64) int64 { return (block - size%block) % block }

// cutShort names a tar that ends where it must not.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("tar ends too early")
	}
	return err
}
