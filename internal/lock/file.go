package lock

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"forge/internal/diag"
	"forge/internal/spec"
)

// maxSize bounds a lock file: about 100,000 packages.
const maxSize = 32 << 20

// Encode gives the canonical bytes of a lock: sorted, one package a line, so that a
// review's diff shows one line a changed package. It sorts f.
func Encode(f *File) []byte {
	f.sort()
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"version\": %d,\n  \"layout\": %d,\n", f.Version, f.Layout)
	if len(f.Variables) > 0 {
		fmt.Fprintf(&b, "  \"variables\": %s,\n", line(f.Variables))
	}
	b.WriteString("  \"releases\": [\n")
	for i, r := range f.Releases {
		indexes := r.Indexes
		r.Indexes = nil
		writeWithList(&b, line(r), "indexes", indexes, i == len(f.Releases)-1)
	}
	b.WriteString("  ],\n  \"images\": [\n")
	for i, m := range f.Images {
		packages := m.Packages
		m.Packages = nil
		writeWithList(&b, line(m), "packages", packages, i == len(f.Images)-1)
	}
	b.WriteString("  ]")
	if len(f.Expected) > 0 {
		b.WriteString(",\n  \"expected\": [\n")
		writeLines(&b, "    ", f.Expected)
		b.WriteString("  ]")
	}
	b.WriteString("\n}\n")
	return b.Bytes()
}

// writeWithList writes one object whose last member is a list with one element a line.
// head is the object's JSON with that member as null.
func writeWithList[T any](b *bytes.Buffer, head, member string, list []T, last bool) {
	head = strings.TrimSuffix(head, fmt.Sprintf("%q:null}", member))
	fmt.Fprintf(b, "    %s%q: [\n", head, member)
	writeLines(b, "      ", list)
	b.WriteString("    ]}")
	if !last {
		b.WriteString(",")
	}
	b.WriteString("\n")
}

func writeLines[T any](b *bytes.Buffer, indent string, list []T) {
	for i, v := range list {
		b.WriteString(indent)
		b.WriteString(line(v))
		if i < len(list)-1 {
			b.WriteString(",")
		}
		b.WriteString("\n")
	}
}

// line is v as JSON on one line, with <, > and & as themselves.
func line(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("lock: a plain value did not marshal: %v", err))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (f *File) sort() {
	slices.SortFunc(f.Releases, func(a, b Release) int {
		return cmp.Or(cmp.Compare(a.Archive, b.Archive), cmp.Compare(a.Suite, b.Suite))
	})
	for _, r := range f.Releases {
		slices.SortFunc(r.Indexes, func(a, b Index) int { return cmp.Compare(a.Path, b.Path) })
	}
	slices.SortFunc(f.Images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Platform, b.Platform))
	})
	for _, m := range f.Images {
		slices.SortFunc(m.Packages, func(a, b Package) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch))
		})
		slices.SortFunc(m.Restore, func(a, b Restore) int { return cmp.Compare(a.Path, b.Path) })
		slices.SortFunc(m.Drops, func(a, b Drop) int {
			return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Path, b.Path))
		})
	}
	slices.SortFunc(f.Expected, func(a, b Expected) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Platform, b.Platform))
	})
}

// Decode reads a lock strictly: unknown members, missing digests and text after the
// end are refused, and so is a lock of a newer format.
func Decode(data []byte) (*File, error) {
	if len(data) > maxSize {
		return nil, diag.Errorf(diag.TooLarge, "", "reading %s: %d bytes, more than %d", FileName, len(data), maxSize)
	}
	var head struct{ Version, Layout int }
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, diag.Errorf(diag.LockMalformed, "", "reading %s: %w", FileName, jsonPlace(data, err))
	}
	if head.Version != FormatVersion || head.Layout != LayoutVersion {
		return nil, diag.Errorf(diag.LockVersion, "", "reading %s: format %d and layout %d, this forge knows %d and %d",
			FileName, head.Version, head.Layout, FormatVersion, LayoutVersion)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var f File
	if err := dec.Decode(&f); err != nil {
		return nil, diag.Errorf(diag.LockMalformed, "", "reading %s: %w", FileName, jsonPlace(data, err))
	}
	if err := f.validate(); err != nil {
		return nil, diag.Errorf(diag.LockMalformed, "", "reading %s: %w", FileName, err)
	}
	f.sort()
	return &f, nil
}

// jsonPlace adds the line number to an error of package json.
func jsonPlace(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	offset := int64(-1)
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	} else if errors.As(err, &kind) {
		offset = kind.Offset
	}
	if offset < 0 || offset > int64(len(data)) {
		return err
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:offset], []byte("\n")), err)
}

var (
	hexDigest   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*$`)
	oneWord     = regexp.MustCompile(`^[A-Za-z0-9.+:~_-]+$`) // a version or architecture
)

// validate checks what every reader of a File relies on.
func (f *File) validate() error {
	for _, r := range f.Releases {
		if !hexDigest.MatchString(r.SHA256) {
			return fmt.Errorf("release %s %s has no SHA-256", r.Archive, r.Suite)
		}
	}
	seen := map[string]bool{}
	for _, m := range f.Images {
		key := m.Name + " on " + m.Platform
		if seen[key] {
			return fmt.Errorf("image %s stands twice", key)
		}
		seen[key] = true
		if m.Groups < 1 || m.Groups > 64 {
			return fmt.Errorf("image %s has %d groups", key, m.Groups)
		}
		if err := validatePackages(m.Packages); err != nil {
			return fmt.Errorf("image %s: %w", key, err)
		}
	}
	return nil
}

func validatePackages(packages []Package) error {
	seen := map[string]bool{}
	for _, p := range packages {
		if !packageName.MatchString(p.Name) || !oneWord.MatchString(p.Version) || p.Size <= 0 {
			return fmt.Errorf("package %q %q of %d bytes is no package", p.Name, p.Version, p.Size)
		}
		if !hexDigest.MatchString(p.SHA256) {
			return fmt.Errorf("package %s has no SHA-256", p.Name)
		}
		if !fs.ValidPath(p.Path) || strings.ContainsAny(p.Path, "\\%?#") {
			return fmt.Errorf("package %s has the path %q", p.Name, p.Path)
		}
		if seen[p.Name] {
			return fmt.Errorf("package %s stands twice", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// ReadDir reads the lock of a templates' directory. A directory without one gives an
// error with id LockMissing.
func ReadDir(dir string) (*File, error) {
	path := filepath.Join(dir, FileName)
	// A repository may hold a pipe or a link to a device under the lock's name.
	in, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, diag.Errorf(diag.LockMissing, "", "no %s in %q", FileName, dir)
	}
	if err != nil {
		return nil, diag.Errorf(diag.Disk, "", "reading the lock: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, diag.Errorf(diag.Disk, "", "reading the lock: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, diag.Errorf(diag.LockMalformed, "", "reading %s: it is not a regular file", FileName)
	}
	data, err := io.ReadAll(io.LimitReader(in, maxSize+1))
	if err != nil {
		return nil, diag.Errorf(diag.Disk, "", "reading the lock: %w", err)
	}
	return Decode(data)
}

// WriteDir replaces the lock of a directory whole or not at all; same bytes are not
// written again.
func WriteDir(dir string, f *File) error {
	path := filepath.Join(dir, FileName)
	data := Encode(f)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() == int64(len(data)) {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
			return nil
		}
	}
	tmp, err := os.CreateTemp(dir, "."+FileName+".*")
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing the lock: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return diag.Errorf(diag.Disk, "", "writing the lock: %w", err)
	}
	return nil
}

// Part gives what of a lock goes into one image on some platforms: the pins of its
// lineage, and the releases that those packages were chosen from. Nothing of it depends
// on what other templates are locked beside it; therefore a release's indexes, which
// the release's own digest vouches for, are left out, and so is what builds gave.
func (f *File) Part(set *spec.Set, name string, platforms ...string) *File {
	part := &File{Version: f.Version, Layout: f.Layout, Variables: f.Variables}
	used := map[[2]string]bool{}
	for _, m := range f.Images {
		if !slices.Contains(platforms, m.Platform) || !inLineage(set, name, m.Name) {
			continue
		}
		part.Images = append(part.Images, m)
		for _, p := range m.Packages {
			used[[2]string{p.Archive, p.Suite}] = true
		}
	}
	for _, r := range f.Releases {
		if used[[2]string{r.Archive, r.Suite}] {
			r.Indexes = nil
			part.Releases = append(part.Releases, r)
		}
	}
	return part
}

// Digest is the SHA-256, in hex, of the lock without what builds gave: of what goes
// into a build.
func Digest(f *File) string {
	in := *f
	in.Expected = nil
	sum := sha256.Sum256(Encode(&in))
	return hex.EncodeToString(sum[:])
}
