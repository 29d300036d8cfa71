// Package control reads Debian control data (deb822(5)): stanzas of fields, as in
// package indexes, release files and the control file of a package.
//
// It is strict where parsers differ, because two readings of one signed file are a way
// around the signature: a field twice, a continuation without a field, a line of blanks
// or a control character in a value that is kept is an error with its line.
package control

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of one input; the longest line of Debian has 76 kB, the longest stanza (a
// release file) under 1 MB.
const (
	MaxLine   = 1 << 20
	MaxStanza = 16 << 20
	MaxFields = 256
)

// Field is one field. Continuation lines of a value stay as they are, each after a
// newline and with its leading blank.
type Field struct {
	Name  string // as written
	Value string // without blanks around the first line
}

// Stanza is a run of fields.
type Stanza struct {
	Line   int // of the first field, from 1
	Fields []Field
}

// Get gives the value of a field, whatever the case of its name; "" when it is absent.
func (s *Stanza) Get(name string) string {
	for i := range s.Fields {
		if len(s.Fields[i].Name) == len(name) && strings.EqualFold(s.Fields[i].Name, name) {
			return s.Fields[i].Value
		}
	}
	return ""
}

// Reader reads stanzas one after another in bounded memory.
type Reader struct {
	in    *bufio.Reader
	keep  []string
	line  int
	seen  []byte      // names of the stanza's fields, kept or not, lower case
	index [64]bool    // which name hashes occur in seen
	ends  []int       // end of each name in seen
	text  []byte      // kept text of the stanza
	spans []fieldSpan // kept fields in text
	size  int         // bytes of the stanza, kept or not
}

type fieldSpan struct{ start, name, end int }

// NewReader reads from r, keeping only the fields named, or all when none is.
func NewReader(r io.Reader, keep ...string) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 128<<10), keep: keep}
}

// Parse reads input that must hold exactly one stanza, such as a package's control
// file or a release file.
func Parse(r io.Reader) (Stanza, error) {
	cr := NewReader(r)
	s, err := cr.Next()
	if errors.Is(err, io.EOF) {
		return Stanza{}, errors.New("no fields")
	}
	if err != nil {
		return Stanza{}, err
	}
	extra, err := cr.Next()
	if err == nil {
		return Stanza{}, fmt.Errorf("line %d: a second stanza", extra.Line)
	}
	if !errors.Is(err, io.EOF) {
		return Stanza{}, err
	}
	return s, nil
}

// Next gives the next stanza that has a field, io.EOF after the last. The stanza may
// have no kept fields.
func (r *Reader) Next() (Stanza, error) {
	r.seen, r.ends, r.text, r.spans = r.seen[:0], r.ends[:0], r.text[:0], r.spans[:0]
	clear(r.index[:])
	r.size = 0
	first, keeping := 0, false
	for {
		line, err := r.readLine()
		if errors.Is(err, io.EOF) && len(line) == 0 {
			if first == 0 {
				return Stanza{}, io.EOF
			}
			return r.stanza(first), nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return Stanza{}, err
		}
		switch {
		case len(line) == 0 && first == 0:
			continue
		case len(line) == 0:
			return r.stanza(first), nil
		case line[0] == ' ' || line[0] == '\t':
			err = r.continuation(line, first, keeping)
		default:
			keeping, err = r.field(line)
		}
		if err != nil {
			return Stanza{}, err
		}
		if first == 0 {
			first = r.line
		}
	}
}

// readLine gives a line without its newline. The line is valid until the next call.
// With io.EOF an empty line means the end.
func (r *Reader) readLine() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= MaxLine {
			line, err = r.in.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if len(line) == 0 {
		return nil, err
	}
	r.line++
	if len(line) > MaxLine {
		return nil, r.fault("longer than %d bytes", MaxLine)
	}
	if r.size += len(line); r.size > MaxStanza {
		return nil, r.fault("stanza longer than %d bytes", MaxStanza)
	}
	return bytes.TrimSuffix(line, []byte{'\n'}), err
}

func (r *Reader) fault(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", r.line, fmt.Sprintf(format, args...))
}

func (r *Reader) continuation(line []byte, first int, keeping bool) error {
	if first == 0 {
		return r.fault("continues no field")
	}
	if len(bytes.TrimLeft(line, " \t")) == 0 {
		return r.fault("only blanks")
	}
	if !keeping {
		return nil
	}
	if c, ok := control(line); ok {
		return r.fault("control character %#x in a value", c)
	}
	r.text = append(append(r.text, '\n'), line...)
	r.spans[len(r.spans)-1].end = len(r.text)
	return nil
}

func (r *Reader) field(line []byte) (kept bool, err error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return false, r.fault("not a field: no name before a colon")
	}
	name := line[:colon]
	if c, ok := badName(name); ok {
		return false, r.fault("field name with character %q", c)
	}
	if r.duplicate(name) {
		return false, r.fault("field %q twice in one stanza", name)
	}
	if len(r.ends) > MaxFields {
		return false, r.fault("more than %d fields", MaxFields)
	}
	if !r.kept(name) {
		return false, nil
	}
	value := bytes.Trim(line[colon+1:], " \t")
	if c, ok := control(value); ok {
		return false, r.fault("control character %#x in a value", c)
	}
	span := fieldSpan{start: len(r.text)}
	r.text = append(r.text, name...)
	span.name = len(r.text)
	r.text = append(r.text, value...)
	span.end = len(r.text)
	r.spans = append(r.spans, span)
	return true, nil
}

func (r *Reader) kept(name []byte) bool {
	if len(r.keep) == 0 {
		return true
	}
	for _, k := range r.keep {
		if len(k) == len(name) && (string(name) == k || strings.EqualFold(string(name), k)) {
			return true
		}
	}
	return false
}

// duplicate notes a name and tells whether the stanza already had it. A hash decides
// most cases; a Packages file has 1.5 million fields.
func (r *Reader) duplicate(name []byte) bool {
	start := len(r.seen)
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		r.seen = append(r.seen, c)
	}
	low := r.seen[start:]
	h := (len(low)*7 + int(low[0])*3 + int(low[len(low)-1])*5 + int(low[len(low)/2])) & 63
	if r.index[h] {
		from := 0
		for _, end := range r.ends {
			if bytes.Equal(r.seen[from:end], low) {
				return true
			}
			from = end
		}
	}
	r.index[h] = true
	r.ends = append(r.ends, len(r.seen))
	return false
}

func (r *Reader) stanza(first int) Stanza {
	text := string(r.text)
	s := Stanza{Line: first, Fields: make([]Field, len(r.spans))}
	for i, p := range r.spans {
		s.Fields[i] = Field{Name: text[p.start:p.name], Value: text[p.name:p.end]}
	}
	return s
}

func badName(name []byte) (byte, bool) {
	if name[0] == '#' || name[0] == '-' {
		return name[0], true
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return c, true
		}
	}
	return 0, false
}

func control(value []byte) (byte, bool) {
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return c, true
		}
	}
	return 0, false
}
