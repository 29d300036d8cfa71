// Package solve chooses packages: from the package indexes of some archives and a list
// of requests to exactly the packages and versions that apt would install on an empty
// system without recommendations. It is pure: what it is given decides what it gives.
//
// apt's classic resolver (apt-pkg/depcache.cc, MarkInstall) comes first, step by step
// as apt takes them; where that ends with unmet dependencies, a complete search with
// the same preferences follows. apt settles some choices by the order in which its
// cache happened to be filled; those are errors here that ask the user to choose.
//
// The classic resolver decides in every apt up to 3.0 (bookworm, trixie). The solver
// that apt 3.1.10 and later use first may differ: there a later hard dependency can
// decide an earlier alternative.
package solve

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"forge/internal/debian/control"
	"forge/internal/debian/dependency"
	"forge/internal/debian/version"
	"forge/internal/diag"
)

// Package is one package of an index, or one that is already in the image.
type Package struct {
	Name, Version, Arch   string
	Source, SourceVersion string
	Archive, Suite        string // the archive's name in the templates; the suite as asked for
	Component             string
	Path                  string // in the archive: relative, clean, without ".."
	SHA256                string // 64 lower-case hex digits
	Size                  int64
	PreDepends, Depends   []dependency.Group
	Conflicts, Breaks     []dependency.Group
	Provides, Replaces    []dependency.Group
	Essential, Protected  bool
	Priority, MultiArch   string
}

// Index says where a package index comes from.
type Index struct {
	Archive, Suite, Component string
	NotAutomatic              bool // the release says so (backports): taken only when nothing else has the name
}

// Universe holds the packages of several indexes for one architecture. It may be used
// by several Solves at once, but not while an index is added.
type Universe struct {
	arch     string
	names    map[string][]*entry // best candidate first
	provides map[string][]provider
}

// entry is a stanza, its relations unread: most are never looked at.
type entry struct {
	name, version, arch, source            string
	preDepends, depends, conflicts, breaks string
	provides, replaces                     string
	path, size, sha256                     string
	essential, protected, important        string
	priority, multiArch                    string
	index                                  *Index
	rival                                  *entry // same name, version and architecture, other content
}

type provider struct {
	owner   *entry
	version string // "" when the provided name has none
}

// NewUniverse makes an empty universe; arch is Debian's name of the architecture.
func NewUniverse(arch string) *Universe {
	return &Universe{arch: arch, names: map[string][]*entry{}, provides: map[string][]provider{}}
}

var kept = []string{
	"Package", "Version", "Architecture", "Source", "Pre-Depends", "Depends", "Conflicts", "Breaks", "Provides",
	"Replaces", "Filename", "Size", "SHA256", "Essential", "Protected", "Important", "Priority", "Multi-Arch",
}

// Add reads a Packages index. Of equal packages the first index added wins. A stanza
// out of format is a diag.MalformedIndex; after an error the universe is of no use.
func (u *Universe) Add(index Index, r io.Reader) error {
	stanzas := control.NewReader(r, kept...)
	for {
		s, err := stanzas.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			if err = u.add(&index, s); err != nil {
				err = fmt.Errorf("stanza at line %d: %w", s.Line, err)
			}
		}
		if err == nil {
			continue
		}
		if diag.IDOf(err) == "" {
			err = diag.Errorf(diag.MalformedIndex, "", "%w", err)
		}
		return fmt.Errorf("reading the package index of %s %s %s: %w", index.Archive, index.Suite, index.Component, err)
	}
}

func (u *Universe) add(index *Index, s control.Stanza) error {
	e := newEntry(index, s)
	if !dependency.ValidName(e.name) {
		return fmt.Errorf("%q is not a package name", e.name)
	}
	if err := version.Validate(e.version); err != nil {
		return fmt.Errorf("package %q: %w", e.name, err)
	}
	if e.arch != u.arch && e.arch != "all" {
		return fmt.Errorf("package %q: architecture %q in an index for %s", e.name, e.arch, u.arch)
	}
	provides, err := dependency.Parse(e.provides)
	if err != nil {
		return fmt.Errorf("package %q: Provides: %w", e.name, err)
	}
	if !u.insert(e) {
		return nil
	}
	for _, g := range provides {
		if len(g) != 1 || g[0].Op != version.Any && g[0].Op != version.Exactly {
			continue // apt ignores these, too
		}
		name := g[0].Name
		if g[0].Qualifier == "any" {
			name += ":any"
		}
		u.provides[name] = append(u.provides[name], provider{e, g[0].Version})
	}
	return nil
}

func newEntry(index *Index, s control.Stanza) *entry {
	e := &entry{index: index}
	to := []*string{
		&e.name, &e.version, &e.arch, &e.source, &e.preDepends, &e.depends, &e.conflicts, &e.breaks, &e.provides,
		&e.replaces, &e.path, &e.size, &e.sha256, &e.essential, &e.protected, &e.important, &e.priority, &e.multiArch,
	}
	for _, f := range s.Fields {
		for i, name := range kept {
			if len(name) == len(f.Name) && strings.EqualFold(name, f.Name) {
				*to[i] = f.Value
				break
			}
		}
	}
	return e
}

// insert keeps the versions of a name in order of preference, and tells whether e is
// new rather than a repetition.
func (u *Universe) insert(e *entry) bool {
	list := u.names[e.name]
	i := len(list)
	for j, other := range list {
		c := preference(e, other)
		if c == 0 && e.arch == other.arch {
			if e.sha256 != other.sha256 && other.rival == nil {
				other.rival = e
			}
			return false
		}
		if c < 0 && i == len(list) {
			i = j
		}
	}
	u.names[e.name] = slices.Insert(list, i, e)
	return true
}

// preference is negative when a comes before b as a candidate.
func preference(a, b *entry) int {
	if a.index.NotAutomatic != b.index.NotAutomatic {
		if a.index.NotAutomatic {
			return 1
		}
		return -1
	}
	return version.Compare(b.version, a.version)
}

func (e *entry) where() string { return e.index.Archive + " " + e.index.Suite }

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// parse reads the whole stanza.
func (e *entry) parse() (*Package, error) {
	p := &Package{
		Name: e.name, Version: e.version, Arch: e.arch, Source: e.name, SourceVersion: e.version,
		Archive: e.index.Archive, Suite: e.index.Suite, Component: e.index.Component, Path: e.path,
		SHA256: strings.ToLower(e.sha256), Essential: e.essential == "yes", Protected: e.protected == "yes" || e.important == "yes",
		Priority: e.priority, MultiArch: e.multiArch,
	}
	err := cmp.Or(e.parseRelations(p), e.parseSource(p), e.parseFile(p))
	if err != nil {
		return nil, diag.Errorf(diag.MalformedIndex, "", "package %s %s of %s: %w", e.name, e.version, e.where(), err)
	}
	return p, nil
}

func (e *entry) parseRelations(p *Package) error {
	for _, f := range []struct {
		name, text string
		to         *[]dependency.Group
	}{
		{"Pre-Depends", e.preDepends, &p.PreDepends}, {"Depends", e.depends, &p.Depends}, {"Conflicts", e.conflicts, &p.Conflicts},
		{"Breaks", e.breaks, &p.Breaks}, {"Provides", e.provides, &p.Provides}, {"Replaces", e.replaces, &p.Replaces},
	} {
		groups, err := dependency.Parse(f.text)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		*f.to = groups
	}
	return nil
}

// parseSource reads "name" or "name (version)".
func (e *entry) parseSource(p *Package) error {
	if e.source == "" {
		return nil
	}
	name, rest, found := strings.Cut(e.source, " ")
	if !dependency.ValidName(name) {
		return fmt.Errorf("source %q is not a package name", e.source)
	}
	p.Source = name
	if !found {
		return nil
	}
	v, ok := strings.CutSuffix(strings.TrimPrefix(strings.TrimSpace(rest), "("), ")")
	if !ok {
		return fmt.Errorf("source %q: no version in parentheses", e.source)
	}
	p.SourceVersion = strings.TrimSpace(v)
	return version.Validate(p.SourceVersion)
}

func (e *entry) parseFile(p *Package) (err error) {
	if !cleanPath(e.path) {
		return fmt.Errorf("file name %q leads out of the archive or is not clean", e.path)
	}
	p.Size, err = strconv.ParseInt(e.size, 10, 64)
	if err != nil || p.Size <= 0 {
		return fmt.Errorf("size %q is not a number of bytes", e.size)
	}
	if p.SHA256 != "" && !sha256Hex.MatchString(p.SHA256) {
		return fmt.Errorf("SHA256 %q is not 64 hex digits", e.sha256)
	}
	return nil
}

// cleanPath accepts a relative path that means the same to every server and file
// system: no empty, "." or ".." element, no backslash, no percent-encoded dot or slash.
func cleanPath(p string) bool {
	low := strings.ToLower(p)
	for _, bad := range []string{"%2e", "%2f", "%5c", "%00", "\\", "?", "#", "://"} {
		if strings.Contains(low, bad) {
			return false
		}
	}
	return p != "" && len(p) < 1024 && path.Clean(p) == p && p[0] != '/' && p != "." && p != ".." && !strings.HasPrefix(p, "../") && !strings.Contains(p, "\n")
}
