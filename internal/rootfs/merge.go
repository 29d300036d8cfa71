package rootfs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"forge/internal/diag"
	"forge/internal/spec"
)

// baseFiles is the package that owns the root's directories. It goes before all others
// wherever packages disagree about a directory.
const baseFiles = "base-files"

// generated is a path that a layout makes itself.
type generated struct {
	entry   Entry
	content []byte                // of a file
	open    func() (Input, error) // of a file whose content is an input
}

// Expect works out the entries that Lay gives for a plan of packages, from the
// packages' listings (in any order) instead of their files. Errors are
// diag.FileConflict, or plain ones for listings that are not the plan's.
func Expect(plan *Plan, listings []*Listing) ([]Entry, error) {
	entries, _, err := merge(plan, listings)
	return entries, err
}

// merge makes one layer of the packages' listings: sorted entries with every parent,
// and the content of those that no package ships.
func merge(plan *Plan, listings []*Listing) ([]Entry, []generated, error) {
	listings = ordered(listings)
	if len(listings) != len(plan.Packages) {
		return nil, nil, fmt.Errorf("%d listings for %d packages", len(listings), len(plan.Packages))
	}
	keep, err := keeper(plan)
	if err != nil {
		return nil, nil, err
	}
	t := tree{}
	var made []generated
	for _, l := range listings {
		for _, e := range l.Entries {
			if !keep(&e) {
				continue
			}
			if err := t.add(e); err != nil {
				return nil, nil, err
			}
		}
		made = append(made, t.missingMergeLinks(l)...)
		made = append(made, dpkgView(l, t)...)
	}
	for _, g := range made {
		if err := t.add(g.entry); err != nil {
			return nil, nil, err
		}
	}
	if err := t.addParents(nil); err != nil {
		return nil, nil, err
	}
	return t.sorted(), made, nil
}

// ordered sorts by name, base-files first.
func ordered(listings []*Listing) []*Listing {
	listings = slices.Clone(listings)
	slices.SortFunc(listings, func(a, b *Listing) int {
		if (a.Package == baseFiles) != (b.Package == baseFiles) {
			if a.Package == baseFiles {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Package, b.Package)
	})
	return listings
}

// keeper decides which of the plan's packages' entries are laid out.
func keeper(plan *Plan) (func(*Entry) bool, error) {
	prune, err := newPruner(plan.Prune)
	if err != nil {
		return nil, err
	}
	type owned struct{ pkg, path string }
	drop := map[owned]bool{}
	for pkg, paths := range plan.Drop {
		for _, path := range paths {
			drop[owned{pkg, path}] = true
		}
	}
	return func(e *Entry) bool {
		return !prune.prunes(e) && !drop[owned{e.Origin, e.Path}]
	}, nil
}

// tree is a layer being made.
type tree map[string]Entry

// add places an entry. Of directories the first one stays.
func (t tree) add(e Entry) error {
	have, ok := t[e.Path]
	if !ok {
		t[e.Path] = e
		return nil
	}
	if have.Type == TypeDirectory && e.Type == TypeDirectory {
		return nil
	}
	if mergeLinks[e.Path] != "" && have.Target == e.Target && have.Type == TypeSymlink && e.Type == TypeSymlink {
		return nil
	}
	return conflict(e.Path, have.Origin, e.Origin)
}

func conflict(path, first, second string) error {
	return diag.Errorf(diag.FileConflict, "", "path %q belongs to %q and to %q", path, first, second)
}

// addParents adds every directory that is only implied, with the attributes that below
// has for it, else root's own and 0755. A parent that is no directory is an error.
func (t tree) addParents(below func(path string) (Entry, bool, error)) error {
	for _, path := range t.paths() {
		child := t[path]
		for dir := parent(path); dir != "/"; dir = parent(dir) {
			have, ok := t[dir]
			if ok && have.Type == TypeDirectory {
				break
			}
			if ok {
				return diag.Errorf(diag.FileConflict, "", "path %q of %q lies below %q, which is a %s of %q",
					child.Path, child.Origin, dir, have.Type, have.Origin)
			}
			e := directory(dir, 0o755, 0, 0, "parent")
			if below != nil {
				found, ok, err := below(dir)
				if err != nil {
					return err
				}
				if ok && found.Type != TypeDirectory {
					return diag.Errorf(diag.FileConflict, "", "path %q of %q lies below %q, which a lower layer has as a %s to %q",
						child.Path, child.Origin, dir, found.Type, found.Target)
				}
				if ok {
					e.Mode, e.UID, e.GID = found.Mode, found.UID, found.GID
				}
			}
			t[dir] = e
		}
	}
	return nil
}

func (t tree) paths() []string {
	paths := make([]string, 0, len(t))
	for path := range t {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func (t tree) sorted() []Entry {
	list := make([]Entry, 0, len(t))
	for _, e := range t {
		list = append(list, e)
	}
	sortEntries(list)
	return list
}

// missingMergeLinks gives base-files the links of a usr-merged root where it does not
// ship them itself, as before Debian 13.
func (t tree) missingMergeLinks(l *Listing) []generated {
	if l.Package != baseFiles {
		return nil
	}
	links := []string{"/bin", "/lib", "/sbin"}
	if l.Arch == "amd64" {
		links = append(links, "/lib64")
	}
	var made []generated
	for _, path := range links {
		if _, ok := t[path]; !ok {
			made = append(made, generated{entry: symlink(path, mergeLinks[path], baseFiles)})
		}
	}
	return made
}

func symlink(path, target, origin string) Entry {
	return Entry{Path: path, Type: TypeSymlink, Mode: 0o777, MTime: GeneratedTime, Target: target, Origin: origin}
}

// statusDir is where scanners look for packages that no dpkg installed.
const statusDir = "/var/lib/dpkg/status.d/"

// dpkgView makes what scanners read: the package's control paragraph, and the md5 sums
// of its files that are in the layer, conffiles too, so that each has an owner.
func dpkgView(l *Listing, t tree) []generated {
	var sums strings.Builder
	paths := make([]string, 0, len(l.MD5Sums))
	for path := range l.MD5Sums {
		if e, ok := t[path]; ok && e.Origin == l.Package {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		fmt.Fprintf(&sums, "%s  %s\n", l.MD5Sums[path], path[1:])
	}
	return []generated{
		newFile(statusDir+l.Package, 0o644, l.Control, l.Package),
		newFile(statusDir+l.Package+".md5sums", 0o644, []byte(sums.String()), l.Package),
	}
}

// newFile makes a root-owned file of the given content.
func newFile(path string, mode Mode, content []byte, origin string) generated {
	sum := sha256.Sum256(content)
	return generated{content: content, entry: Entry{
		Path: path, Type: TypeFile, Mode: mode, MTime: GeneratedTime,
		Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Origin: origin,
	}}
}

// Settled is what the packages of one image, its parents' included, leave to decide
// about paths that several of them ship.
type Settled struct {
	Drop    map[string][]string // package -> paths that another package replaces, sorted
	Restore []spec.Directory    // directories about whose attributes packages disagree, by path
}

// Settle decides over all packages of an image, of every layer: a path of two packages
// goes to the one that replaces the other, else it is a diag.FileConflict. replaces
// tells whether the Replaces field of package by covers package of. stated are
// directories whose attributes templates fix.
func Settle(listings []*Listing, replaces func(by, of *Listing) bool, stated []spec.Directory) (Settled, error) {
	s := settler{owner: map[string]owner{}, drop: map[string][]string{}, disputed: map[string]bool{}, replaces: replaces}
	for _, d := range stated {
		e, err := directoryOf(d, "template")
		if err != nil {
			return Settled{}, err
		}
		s.owner[d.Path] = owner{entry: e}
	}
	for _, l := range ordered(listings) {
		for i := range l.Entries {
			if err := s.claim(l, l.Entries[i]); err != nil {
				return Settled{}, err
			}
		}
	}
	if err := s.checkParents(listings); err != nil {
		return Settled{}, err
	}
	return s.settled(), nil
}

type owner struct {
	l     *Listing // nil for a template's directory
	entry Entry
}

type settler struct {
	owner    map[string]owner
	drop     map[string][]string
	disputed map[string]bool
	replaces func(by, of *Listing) bool
}

func (s *settler) claim(l *Listing, e Entry) error {
	have, ok := s.owner[e.Path]
	if !ok {
		s.owner[e.Path] = owner{l, e}
		return nil
	}
	if have.entry.Type == TypeDirectory && e.Type == TypeDirectory {
		if have.entry.Mode != e.Mode || have.entry.UID != e.UID || have.entry.GID != e.GID {
			s.disputed[e.Path] = true
		}
		return nil
	}
	if mergeLinks[e.Path] != "" && have.entry.Target == e.Target {
		return nil
	}
	if have.l == nil || have.entry.Type == TypeDirectory || e.Type == TypeDirectory {
		return conflict(e.Path, have.entry.Origin, l.Package)
	}
	newWins, oldWins := s.replaces(l, have.l), s.replaces(have.l, l)
	switch {
	case newWins == oldWins:
		return conflict(e.Path, have.l.Package, l.Package)
	case newWins:
		s.drop[have.l.Package] = append(s.drop[have.l.Package], e.Path)
		s.owner[e.Path] = owner{l, e}
	default:
		s.drop[l.Package] = append(s.drop[l.Package], e.Path)
	}
	return nil
}

// checkParents looks at every directory that some package only implies: it must not be
// another's link or file, and is disputed unless it is an ordinary 0755 of root.
func (s *settler) checkParents(listings []*Listing) error {
	for _, l := range ordered(listings) {
		for i := range l.Entries {
			e := &l.Entries[i]
			dir := parent(e.Path)
			have, ok := s.owner[dir]
			switch {
			case !ok:
			case have.entry.Type != TypeDirectory:
				return diag.Errorf(diag.FileConflict, "", "path %q of %q lies below %q, which is a %s of %q",
					e.Path, l.Package, dir, have.entry.Type, have.entry.Origin)
			case have.entry.Mode != 0o755 || have.entry.UID != 0 || have.entry.GID != 0:
				s.disputed[dir] = s.disputed[dir] || have.l != l
			}
		}
	}
	return nil
}

func (s *settler) settled() Settled {
	out := Settled{Drop: s.drop}
	for _, paths := range out.Drop {
		slices.Sort(paths)
	}
	paths := make([]string, 0, len(s.disputed))
	for path, yes := range s.disputed {
		if yes {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		e := s.owner[path].entry
		out.Restore = append(out.Restore, spec.Directory{Path: path, Mode: fmt.Sprintf("%04o", uint32(e.Mode)), UID: e.UID, GID: e.GID})
	}
	return out
}
