// Package release reads the signed release file of a suite (InRelease) and judges
// whether it may be believed: its signature, its age, its identity.
//
// Nothing here touches the network or the disk.
package release

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"forge/internal/debian/control"
	"forge/internal/diag"
)

// Bounds of a release file.
const (
	MaxSize  = 10 << 20 // bytes of an InRelease, as apt's MaxReleaseFileSize
	maxLine  = 64 << 10
	maxFiles = 200_000
	// maxIndex bounds the size a release may state for one index file; Debian's
	// largest Packages has 60 MB.
	maxIndex = 1 << 30
)

// Release is what one verified release file says.
type Release struct {
	Origin, Label, Suite, Codename, Version string

	Date       time.Time
	ValidUntil time.Time // zero when the suite states none

	ByHash        bool // index files are also kept by their hash
	Architectures []string
	Components    []string
	NoAllPackages bool // packages for all architectures stand in each architecture's index

	NotAutomatic bool // taken only on demand (backports)

	Files map[string]File // by path relative to the suite's directory
	Weak  map[string]bool // paths listed with weak hashes only

	Signer string // fingerprint of the primary key whose signature was accepted, upper-case hex
}

// File is one index file that the release vouches for.
type File struct {
	Size   int64
	SHA256 string
}

// parse reads the fields of a release file. It is given verified bytes only.
func parse(text string) (*Release, error) {
	stanza, err := control.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	r := &Release{
		Origin: stanza.Get("Origin"), Label: stanza.Get("Label"), Suite: stanza.Get("Suite"),
		Codename: stanza.Get("Codename"), Version: stanza.Get("Version"),
		ByHash:        stanza.Get("Acquire-By-Hash") == "yes",
		Architectures: strings.Fields(stanza.Get("Architectures")),
		Components:    strings.Fields(stanza.Get("Components")),
		NotAutomatic:  stanza.Get("NotAutomatic") == "yes",
		NoAllPackages: strings.Contains(stanza.Get("No-Support-for-Architecture-all"), "Packages"),
		Files:         map[string]File{},
		Weak:          map[string]bool{},
	}
	if r.Date, err = parseDate(stanza.Get("Date")); err != nil {
		return nil, fmt.Errorf("field Date: %w", err)
	}
	if v := stanza.Get("Valid-Until"); v != "" {
		if r.ValidUntil, err = parseDate(v); err != nil {
			return nil, fmt.Errorf("field Valid-Until: %w", err)
		}
	}
	if err := r.addFiles(stanza.Get("SHA256")); err != nil {
		return nil, err
	}
	for _, weak := range []string{"MD5Sum", "SHA1"} {
		for line := range strings.Lines(stanza.Get(weak)) {
			if w := strings.Fields(line); len(w) == 3 {
				if _, strong := r.Files[w[2]]; !strong {
					r.Weak[w[2]] = true
				}
			}
		}
	}
	if len(r.Files) == 0 && len(r.Weak) > 0 {
		return nil, diag.Errorf(diag.WeakAlgorithm, "", "the release file lists its index files with MD5 or SHA-1 only")
	}
	return r, nil
}

// parseDate reads a date as Debian writes it: RFC 2822 with the zone UTC, GMT or +0000.
func parseDate(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, fmt.Errorf("missing")
	}
	for _, zone := range []string{" UTC", " GMT", " Z", " +0000"} {
		if rest, ok := strings.CutSuffix(s, zone); ok {
			t, err := time.Parse("Mon, _2 Jan 2006 15:04:05", rest)
			if err != nil {
				return time.Time{}, fmt.Errorf("%q is not a date", s)
			}
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a date in UTC", s)
}

func (r *Release) addFiles(list string) error {
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 3 {
			return fmt.Errorf("field SHA256: %q is not \"hash size path\"", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("field SHA256: size %q of %q", words[1], words[2])
		}
		if len(words[0]) != 64 || strings.Trim(words[0], "0123456789abcdef") != "" {
			return fmt.Errorf("field SHA256: %q is not a SHA-256", words[0])
		}
		name := words[2]
		if path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "..") {
			return fmt.Errorf("field SHA256: path %q leaves the suite", name)
		}
		f := File{Size: size, SHA256: words[0]}
		if old, ok := r.Files[name]; ok && old != f {
			return fmt.Errorf("field SHA256: %q is listed twice, differently", name)
		}
		r.Files[name] = f
		if len(r.Files) > maxFiles {
			return fmt.Errorf("field SHA256: more than %d files", maxFiles)
		}
	}
	return nil
}

// File finds the entry of a path. Absent is not an error of the release: ok is false.
// A path that is listed with weak hashes only, or with an absurd size, is an error.
func (r *Release) File(name string) (f File, ok bool, err error) {
	f, ok = r.Files[name]
	switch {
	case ok && f.Size > maxIndex:
		return f, true, diag.Errorf(diag.TooLarge, "", "index %s has %d bytes, more than the %d allowed", name, f.Size, maxIndex)
	case !ok && r.Weak[name]:
		return f, false, diag.Errorf(diag.WeakAlgorithm, "", "index %s is listed with MD5 or SHA-1 only", name)
	}
	return f, ok, nil
}
