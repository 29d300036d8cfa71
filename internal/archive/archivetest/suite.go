package archivetest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Suite describes one suite of an archive.
type Suite struct {
	Name       string // "trixie"; also its codename
	Origin     string // "Test" when empty
	Label      string // "Test" when empty
	Version    string
	Date       time.Time
	ValidUntil time.Time // none when zero
	Archs      []string  // amd64 and arm64 when empty
	Packages   []Package
	Keys       []*Key
	Sign       SignOptions // At is Date when zero

	// EditRelease changes the release file's text before it is signed, EditIndex one
	// index's text before it is hashed. Neither is needed for an honest archive.
	EditRelease func(string) string
	EditIndex   func(path, text string) string
}

// Files are an archive: paths below its root -> content.
type Files map[string][]byte

// Add publishes a suite: pool, indexes (plain, gzip, xz, and by hash) and InRelease.
func (f Files) Add(s Suite) {
	archs := s.Archs
	if archs == nil {
		archs = []string{"amd64", "arm64"}
	}
	components := []string{"main"}
	for _, p := range s.Packages {
		f[p.Path()] = p.Deb()
		if !slices.Contains(components, p.component()) {
			components = append(components, p.component())
		}
	}
	indexes := map[string][]byte{}
	for _, c := range components {
		for _, a := range archs {
			s.addIndex(indexes, path.Join(c, "binary-"+a, "Packages"), c, a)
		}
	}
	dir := path.Join("dists", s.Name)
	var sums strings.Builder
	for _, name := range slices.Sorted(maps.Keys(indexes)) {
		data := indexes[name]
		f[path.Join(dir, name)] = data
		f[path.Join(dir, path.Dir(name), "by-hash/SHA256", SHA256(data))] = data
		fmt.Fprintf(&sums, " %s %d %s\n", SHA256(data), len(data), name)
	}
	text := s.release(archs, components) + "SHA256:\n" + sums.String()
	if s.EditRelease != nil {
		text = s.EditRelease(text)
	}
	sign := s.Sign
	if sign.At.IsZero() {
		sign.At = s.Date
	}
	f[path.Join(dir, "InRelease")] = ClearSign([]byte(text), sign, s.Keys...)
}

func (s Suite) addIndex(indexes map[string][]byte, name, component, arch string) {
	var b strings.Builder
	for _, p := range slices.SortedFunc(slices.Values(s.Packages), func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.version(), b.version()))
	}) {
		if p.component() == component && (p.arch() == arch || p.arch() == "all") {
			b.WriteString(p.stanza())
		}
	}
	text := b.String()
	if s.EditIndex != nil {
		text = s.EditIndex(name, text)
	}
	indexes[name] = []byte(text)
	indexes[name+".gz"] = gzipped([]byte(text))
	indexes[name+".xz"] = XZ([]byte(text))
}

func (s Suite) release(archs, components []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Origin: %s\nLabel: %s\nSuite: %s\nCodename: %s\n",
		cmp.Or(s.Origin, "Test"), cmp.Or(s.Label, "Test"), s.Name, s.Name)
	if s.Version != "" {
		fmt.Fprintf(&b, "Version: %s\n", s.Version)
	}
	fmt.Fprintf(&b, "Date: %s\n", rfc2822(s.Date))
	if !s.ValidUntil.IsZero() {
		fmt.Fprintf(&b, "Valid-Until: %s\n", rfc2822(s.ValidUntil))
	}
	fmt.Fprintf(&b, "Acquire-By-Hash: yes\nNo-Support-for-Architecture-all: Packages\nArchitectures: all %s\nComponents: %s\n",
		strings.Join(archs, " "), strings.Join(components, " "))
	return b.String()
}

func rfc2822(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC") }

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	must(err)
	must(w.Close())
	return b.Bytes()
}

// WriteDir writes the archive below a directory, for use by a file URL.
func (f Files) WriteDir(dir string) error {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return fmt.Errorf("writing archive: %w", err)
		}
		if err := os.WriteFile(target, f[name], 0o644); err != nil {
			return fmt.Errorf("writing archive: %w", err)
		}
	}
	return nil
}
