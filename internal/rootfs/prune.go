package rootfs

import (
	"fmt"
	"path"
	"strings"
)

// PruneSet is a named set of paths that an image can do without. Whatever is pruned,
// copyright files stay: /usr/share/doc/PACKAGE/copyright, and a package's whole
// /usr/share/doc/PACKAGE where that is a link to another's.
type PruneSet struct {
	Name  string
	Doc   string   // what is lost without it
	Roots []string // directories that go, with everything below; path.Match patterns
}

// PruneSets lists the sets that a template's `prune` may name.
var PruneSets = []PruneSet{
	{"bug", "scripts for reporting bugs", []string{"/usr/share/bug"}},
	{"completions", "shells' completion of commands", []string{"/usr/share/bash-completion", "/etc/bash_completion.d", "/usr/share/zsh/vendor-completions", "/usr/share/fish/vendor_completions.d"}},
	{"desktop", "menu entries and icons", []string{"/usr/share/applications", "/usr/share/icons", "/usr/share/pixmaps", "/usr/share/menu"}},
	{"docs", "documentation; copyright files stay", []string{"/usr/share/doc", "/usr/share/doc-base"}},
	{"gconv", "glibc's character sets beyond UTF-8, ASCII and Latin-1 (iconv)", []string{"/usr/lib/*/gconv"}},
	{"info", "info pages", []string{"/usr/share/info"}},
	{"lintian", "overrides for a package checker", []string{"/usr/share/lintian"}},
	{"locales", "translated messages; the C.UTF-8 locale stays", []string{"/usr/share/locale"}},
	{"man", "manual pages", []string{"/usr/share/man"}},
}

// pruner decides which paths a plan leaves out.
type pruner struct{ roots []string }

func newPruner(names []string) (pruner, error) {
	var p pruner
	for _, name := range names {
		found := false
		for _, set := range PruneSets {
			if set.Name == name {
				found = true
				p.roots = append(p.roots, set.Roots...)
			}
		}
		if !found {
			return p, fmt.Errorf("no prune set is called %q", name)
		}
	}
	return p, nil
}

// prunes tells whether an entry is left out.
func (p pruner) prunes(e *Entry) bool {
	for _, root := range p.roots {
		if under(e.Path, root) {
			return !isCopyright(e)
		}
	}
	return false
}

// under tells whether path is root or below it; root may be a pattern.
func under(name, root string) bool {
	if !strings.Contains(root, "*") {
		return name == root || strings.HasPrefix(name, root) && name[len(root)] == '/'
	}
	depth := strings.Count(root, "/")
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if depth--; depth < 0 {
			name = name[:i]
			break
		}
	}
	ok, err := path.Match(root, name)
	return ok && err == nil
}

func isCopyright(e *Entry) bool {
	rest, ok := strings.CutPrefix(e.Path, "/usr/share/doc/")
	if !ok {
		return e.Path == "/usr/share/doc"
	}
	_, file, nested := strings.Cut(rest, "/")
	if !nested {
		return e.Type == TypeDirectory || e.Type == TypeSymlink
	}
	return file == "copyright"
}
