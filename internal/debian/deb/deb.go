// Package deb reads Debian binary package files: bounded, strict and in one pass.
//
// The formats are deb(5) and the tar that dpkg-deb writes. dpkg tolerates more than the
// archive's packages use; this reader takes what they use and refuses the rest, because
// a package that needs more is either broken or hostile. Every refusal is a
// diag.MalformedPackage or diag.TooLarge that names the member or entry.
package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"forge/internal/diag"
)

// Bounds that protect the machine; the archive's largest packages stay well below.
const (
	maxControl = 32 << 20 // bytes of the uncompressed control.tar
	maxData    = 8 << 30  // bytes of the uncompressed data.tar
	maxEntries = 400_000  // entries of one tar
)

// Package is an opened package file. Its control part is read and checked, its data
// part is not read before Data.
type Package struct {
	Control   []byte            // the control paragraph, as shipped
	Scripts   []Script          // maintainer scripts and triggers, by name
	Conffiles []string          // paths without leading slash, as listed
	MD5Sums   map[string]string // path without leading slash -> md5 in hex, as shipped

	data   *io.SectionReader
	suffix string // of the data member: "", ".gz", ".xz" or ".zst"
}

// Script is one file of the control part that dpkg or debconf would act on.
type Script struct {
	Name string // "config", "postinst", "postrm", "preinst", "prerm" or "triggers"
	Data []byte
}

// Open reads the control part of a package file of the given size. A fault of the
// package has the id MalformedPackage or TooLarge.
func Open(r io.ReaderAt, size int64) (*Package, error) {
	m, err := readMembers(r, size)
	if err != nil {
		return nil, err
	}
	p := &Package{data: m.data, suffix: m.dataSuffix}
	tr, err := newTarReader(m.control, m.controlSuffix, maxControl)
	if err != nil {
		return nil, fmt.Errorf("opening control.tar%s: %w", m.controlSuffix, err)
	}
	defer tr.close()
	if err := p.readControl(tr); err != nil {
		return nil, fmt.Errorf("reading control.tar%s: %w", m.controlSuffix, err)
	}
	return p, nil
}

func (p *Package) readControl(tr *tarReader) error {
	seen := map[string]bool{}
	for {
		e, err := tr.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if e.Path == "" && e.Type == Directory {
			continue
		}
		if e.Type != File || strings.Contains(e.Path, "/") || seen[e.Path] {
			return malformed("entry %q is not a plain, single file", e.Path)
		}
		seen[e.Path] = true
		data, err := io.ReadAll(tr)
		if err != nil {
			return err
		}
		if err := p.keep(e.Path, data); err != nil {
			return err
		}
	}
	if p.Field("Package") == "" || p.Field("Version") == "" || p.Field("Architecture") == "" {
		return malformed("control file lacks Package, Version or Architecture")
	}
	return nil
}

func (p *Package) keep(name string, data []byte) error {
	var err error
	switch name {
	case "control":
		if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
			return malformed("control file is not text")
		}
		p.Control = data
	case "config", "postinst", "postrm", "preinst", "prerm", "triggers":
		p.Scripts = insertScript(p.Scripts, Script{name, data})
	case "conffiles":
		p.Conffiles, err = parseConffiles(data)
	case "md5sums":
		p.MD5Sums, err = parseMD5Sums(data)
	}
	return err
}

func insertScript(list []Script, s Script) []Script {
	i := 0
	for i < len(list) && list[i].Name < s.Name {
		i++
	}
	return append(list[:i:i], append([]Script{s}, list[i:]...)...)
}

// Field gives the first line of a control field, without surrounding space; "" when
// the field is absent. The name's case does not matter.
func (p *Package) Field(name string) string {
	for line := range strings.Lines(string(p.Control)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(key, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Data calls f for every entry of the data part, in the package's order. The reader
// gives a file's content and is valid only during the call; it is empty for other
// types. An error of f stops the reading and is returned as it is.
func (p *Package) Data(f func(e Entry, content io.Reader) error) error {
	tr, err := newTarReader(io.NewSectionReader(p.data, 0, p.data.Size()), p.suffix, maxData)
	if err != nil {
		return fmt.Errorf("opening data.tar%s: %w", p.suffix, err)
	}
	defer tr.close()
	for {
		e, err := tr.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading data.tar%s: %w", p.suffix, err)
		}
		if err := f(e, tr); err != nil {
			return err
		}
	}
}

// parseConffiles reads DEBIAN/conffiles: a path a line, perhaps after a flag
// (deb-conffiles(5)); a "remove-on-upgrade" line names a file that is not shipped.
func parseConffiles(data []byte) ([]string, error) {
	var list []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || (len(fields) == 2 && fields[0] == "remove-on-upgrade") {
			continue
		}
		path, err := CleanPath(strings.TrimPrefix(strings.TrimRight(line, " \t\n"), "/"))
		if err != nil || path == "" {
			return nil, malformed("conffiles line %q is no path", line)
		}
		list = append(list, path)
	}
	return list, nil
}

func parseMD5Sums(data []byte) (map[string]string, error) {
	sums := map[string]string{}
	for line := range strings.Lines(string(data)) {
		sum, path, ok := strings.Cut(strings.TrimRight(line, "\n"), "  ")
		if !ok || len(sum) != 32 || strings.Trim(sum, "0123456789abcdef") != "" {
			return nil, malformed("md5sums line %q is no sum", line)
		}
		path, err := CleanPath(strings.TrimPrefix(path, "/"))
		if err != nil || path == "" {
			return nil, malformed("md5sums line %q has no path", line)
		}
		sums[path] = sum
	}
	return sums, nil
}

func malformed(format string, args ...any) error {
	return diag.Errorf(diag.MalformedPackage, "", format, args...)
}

func tooLarge(format string, args ...any) error {
	return diag.Errorf(diag.TooLarge, "", format, args...)
}
