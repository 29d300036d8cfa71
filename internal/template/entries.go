package template

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"forge/internal/hclconf"
	"forge/internal/spec"
)

// entry is a path that a template says something about.
type entry struct {
	kind  string // "file", "directory", "symlink"
	image string // name of the template
	at    hcl.Range
}

// made are files that forge writes from other blocks.
var made = map[string]string{
	"/etc/passwd":  "Write `user` blocks; it is made from them.",
	"/etc/group":   "Write `group` blocks; it is made from them.",
	"/etc/shadow":  "Accounts of images are locked; there is no password file.",
	"/etc/gshadow": "Accounts of images are locked; there is no password file.",
}

// entries fills files, directories and symlinks.
func (l *loader) entries(m *image) {
	m.Files, m.Directories, m.Symlinks = []spec.File{}, []spec.Directory{}, []spec.Symlink{}
	for _, b := range m.block.Blocks["directory"] {
		if l.claim(m, b, "directory") {
			d := spec.Directory{Path: b.Labels[0].Text, Mode: l.mode(b, "0755")}
			d.UID, d.GID = l.owner(m, b)
			m.Directories = append(m.Directories, d)
		}
	}
	for _, b := range m.block.Blocks["file"] {
		if f := l.file(m, b); l.claim(m, b, "file") {
			m.Files = append(m.Files, f)
		}
	}
	for _, b := range m.block.Blocks["symlink"] {
		if target, ok := b.Text("target"); l.claim(m, b, "symlink") && ok {
			m.Symlinks = append(m.Symlinks, spec.Symlink{Path: b.Labels[0].Text, Target: target, Replace: b.Bool("replace", false)})
			l.target(b, target)
		}
	}
	l.homes(m)
	l.below(m)
	slices.SortFunc(m.Files, func(a, b spec.File) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(m.Directories, func(a, b spec.Directory) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(m.Symlinks, func(a, b spec.Symlink) int { return strings.Compare(a.Path, b.Path) })
}

// entry finds what the lineage says about a path; the nearest template counts.
func (m *image) entry(p string) (entry, bool) {
	for ; m != nil; m = m.parent {
		if e, ok := m.places.paths[p]; ok {
			return e, true
		}
	}
	return entry{}, false
}

// claim takes a path for an entry, unless it may not have it.
func (l *loader) claim(m *image, b *hclconf.Block, kind string) bool {
	p, at := b.Labels[0].Text, b.Labels[0].Range
	if !l.imagePath(p, at) || !l.mergedPath(p, at) {
		return false
	}
	if why, ok := made[p]; ok {
		l.errorf(at, fmt.Sprintf("%s is forge's own", p), "%s", why)
		return false
	}
	before, taken := m.entry(p)
	own := entry{kind, m.Name, at}
	switch {
	case !taken || kind == "directory" && before.kind == "directory" && before.image != m.Name:
	case before.image == m.Name:
		l.errorf(at, fmt.Sprintf("%s is defined twice", p), "The first is the %s at %s. Delete one of them.", before.kind, hclconf.Place(before.at))
		return false
	case before.kind == "directory" || kind == "directory":
		l.errorf(at, fmt.Sprintf("%s is a %s of the parent", p, before.kind), "Template %q has it at %s, and %s cannot take its place. Choose another path.", before.image, hclconf.Place(before.at), article(kind))
		return false
	case !b.Bool("replace", false):
		l.errorf(at, fmt.Sprintf("%s is there already", p), "Template %q has it at %s. If it is to be replaced, say so with replace = true; that is recorded.", before.image, hclconf.Place(before.at))
		return false
	}
	m.places.paths[p] = own
	return true
}

func (l *loader) file(m *image, b *hclconf.Block) spec.File {
	f := spec.File{Path: b.Labels[0].Text, Mode: l.mode(b, "0644"), Replace: b.Bool("replace", false)}
	f.UID, f.GID = l.owner(m, b)
	var ways []string
	for _, name := range []string{"content", "source", "url"} {
		if b.Given(name) {
			ways = append(ways, name)
		}
	}
	if len(ways) != 1 {
		fault := "says twice what is in it"
		if len(ways) == 0 {
			fault = "does not say what is in it"
		}
		l.errorf(b.Range, fmt.Sprintf("file %q %s", f.Path, fault), "It has %s; write exactly one of content, source, and url with sha256.", hclconf.Join(ways, "and"))
		return f
	}
	if url, ok := b.Text("url"); ok {
		l.fetched(&f, b, url)
		return f
	}
	if b.Given("sha256") {
		l.errorf(b.At("sha256"), "\"sha256\" without \"url\"", "forge works out the digest of %s itself. Leave sha256 out.", ways[0])
	}
	content, ok := b.Text("content")
	f.Content = []byte(content)
	if source, is := b.Text("source"); is {
		f.Content, ok = append([]byte{}, l.source(source, b.At("source"))...), true
	}
	if ok {
		sum := sha256.Sum256(f.Content)
		f.SHA256, f.Size = hex.EncodeToString(sum[:]), int64(len(f.Content))
	}
	return f
}

func (l *loader) fetched(f *spec.File, b *hclconf.Block, url string) {
	f.URL = url
	l.webAddress(url, b.At("url"))
	f.SHA256 = l.digest(b)
	if !b.Given("sha256") {
		l.errorf(b.At("url"), "\"url\" without \"sha256\"", "What an address gives can change; its digest cannot. Add sha256 = \"...\", as `sha256sum` prints it.")
	}
}

// target checks where a symlink points.
func (l *loader) target(b *hclconf.Block, target string) {
	at := b.At("target")
	if target == "" || !plain(target) || len(target) > 4095 {
		l.errorf(at, "the link's target cannot be a path", "Write a path, absolute in the image or relative to the link.")
		return
	}
	depth := strings.Count(path.Dir(b.Labels[0].Text), "/")
	if path.Dir(b.Labels[0].Text) == "/" {
		depth = 0
	}
	for _, part := range strings.Split(path.Clean(target), "/") {
		if part != ".." {
			break
		}
		if depth--; depth < 0 {
			l.errorf(at, "the link leads out of the image", "%q climbs above the root. Write the absolute path.", target)
			return
		}
	}
}

// homes adds the home directories of the template's own users.
func (l *loader) homes(m *image) {
	for _, u := range m.Users {
		at, own := m.places.users[u.Name]
		if _, taken := m.entry(u.Home); !own || taken || u.Home == "/nonexistent" || m.parent != nil && m.parent.user(u.Name) != nil {
			continue
		}
		m.places.paths[u.Home] = entry{"directory", m.Name, at}
		m.Directories = append(m.Directories, spec.Directory{Path: u.Home, Mode: "0700", UID: u.UID, GID: u.GID})
	}
}

// below reports own entries that lie below a file or link of the lineage.
func (l *loader) below(m *image) {
	for _, p := range sortedKeys(m.places.paths) {
		e := m.places.paths[p]
		for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
			if up, ok := m.entry(dir); ok && up.kind != "directory" {
				l.errorf(e.at, fmt.Sprintf("%s lies below a %s", p, up.kind), "%s is the %s at %s, so nothing can be below it.", dir, up.kind, hclconf.Place(up.at))
			}
		}
	}
}
