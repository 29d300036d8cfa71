package rootfs

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/debian/deb"
	"forge/internal/diag"
)

// lay lays a plan out on disk and gives the entries and the tree.
func lay(t *testing.T, plan *Plan, in store, below Below, workers int) ([]Entry, string) {
	t.Helper()
	dir := t.TempDir()
	disk, err := NewDisk(dir, workers)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := Lay(plan, in.open, below, disk, workers)
	if err != nil {
		t.Fatal(err)
	}
	return entries, dir
}

func examplePackages(t *testing.T) map[string][]byte {
	return map[string][]byte{
		"base-files": packageOf(t, "base-files", nil,
			shipped{path: "bin/"}, shipped{path: "tmp/", mode: 0o1777}, shipped{path: "var/run/"}, shipped{path: "etc/"}),
		"tool": packageOf(t, "tool", map[string]string{"conffiles": "/etc/tool.conf\n", "md5sums": "0cc175b9c0f1b6a831c399e269772661  bin/tool\n0cc175b9c0f1b6a831c399e269772661  usr/share/man/tool.1\n"},
			shipped{path: "bin/tool", content: "a", mode: 0o4755}, shipped{path: "bin/alias => bin/tool"},
			shipped{path: "etc/tool.conf", content: "b"}, shipped{path: "tmp/", mode: 0o755},
			shipped{path: "usr/share/man/tool.1", content: "a"}, shipped{path: "usr/lib/tool.so -> tool.so.1"}),
		"app": packageOf(t, "app", nil, shipped{path: "srv/app/data", content: strings.Repeat("x", 300_000)}),
	}
}

func TestLayGivesOneTreeWhateverTheOrder(t *testing.T) {
	in := store{}
	plan := in.plan(t, examplePackages(t))
	plan.Prune = []string{"man"}
	slices.SortFunc(plan.Packages, func(a, b PlanPackage) int { return strings.Compare(a.Name, b.Name) })
	first, dir := lay(t, plan, in, nil, 1)
	tree := readTree(t, dir)

	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	slices.Reverse(plan.Packages)
	second, dir := lay(t, plan, in, nil, 4)
	if d := cmp.Diff(first, second); d != "" {
		t.Errorf("entries differ with the order of packages:\n%s", d)
	}
	if d := cmp.Diff(tree, readTree(t, dir)); d != "" {
		t.Errorf("trees differ with order and umask:\n%s", d)
	}

	want := `/bin symlink 0777 0:0 -> usr/bin (base-files)
/etc dir 0755 0:0 (base-files)
/etc/tool.conf file 0644 0:0 (tool)
/lib symlink 0777 0:0 -> usr/lib (base-files)
/sbin symlink 0777 0:0 -> usr/sbin (base-files)
/srv dir 0755 0:0 (parent)
/srv/app dir 0755 0:0 (parent)
/srv/app/data file 0644 0:0 (app)
/tmp dir 1777 0:0 (base-files)
/usr dir 0755 0:0 (parent)
/usr/bin dir 0755 0:0 (base-files)
/usr/bin/alias hardlink 0755 0:0 -> /usr/bin/tool (tool)
/usr/bin/tool file 0755 0:0 (tool)
/usr/lib dir 0755 0:0 (parent)
/usr/lib/tool.so symlink 0777 0:0 -> tool.so.1 (tool)
/usr/share dir 0755 0:0 (parent)
/var dir 0755 0:0 (parent)
/var/lib dir 0755 0:0 (parent)
/var/lib/dpkg dir 0755 0:0 (parent)
/var/lib/dpkg/status.d dir 0755 0:0 (parent)
/var/lib/dpkg/status.d/app file 0644 0:0 (app)
/var/lib/dpkg/status.d/app.md5sums file 0644 0:0 (app)
/var/lib/dpkg/status.d/base-files file 0644 0:0 (base-files)
/var/lib/dpkg/status.d/base-files.md5sums file 0644 0:0 (base-files)
/var/lib/dpkg/status.d/tool file 0644 0:0 (tool)
/var/lib/dpkg/status.d/tool.md5sums file 0644 0:0 (tool)
/var/run symlink 0777 0:0 -> /run (base-files)
`
	want = strings.Replace(want, "/usr/share dir 0755 0:0 (parent)\n", "", 1)
	if d := cmp.Diff(want, show(first)); d != "" {
		t.Errorf("layer differs (-want +got):\n%s", d)
	}
	tool := find(t, first, "/usr/bin/tool")
	if tool.Stripped != "4755" || tool.MTime != 1700000000 {
		t.Errorf("tool is %+v, want its setuid bit taken off on record and its own time", tool)
	}
}

// readTree is a directory as text: everything a layer could hold of it.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := []string{info.Mode().String(), info.ModTime().UTC().String(), string(rune('0' + st.Uid)), string(rune('0' + st.Gid))}
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = append(text, string(data[:min(20, len(data))]))
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text = append(text, to)
		}
		tree[strings.TrimPrefix(path, dir)] = strings.Join(text, " ")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestDiskMatchesTheEntries(t *testing.T) {
	in := store{}
	entries, dir := lay(t, in.plan(t, examplePackages(t)), in, nil, 2)
	paths := map[string]bool{"": true}
	for _, e := range entries {
		paths[e.Path] = true
		info, err := os.Lstat(filepath.Join(dir, e.Path))
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().Unix() != e.MTime {
			t.Errorf("%s has the time %d, want %d", e.Path, info.ModTime().Unix(), e.MTime)
		}
		if st := info.Sys().(*syscall.Stat_t); e.Type != TypeSymlink && st.Mode&0o7777 != uint32(e.Mode) {
			t.Errorf("%s has the mode %o, want %o", e.Path, st.Mode&0o7777, uint32(e.Mode))
		}
	}
	for path := range readTree(t, dir) {
		if !paths[path] {
			t.Errorf("%s is on disk but not an entry", path)
		}
	}
}

func TestExpectGivesWhatLayGives(t *testing.T) {
	in := store{}
	packages := examplePackages(t)
	plan := in.plan(t, packages)
	plan.Prune = []string{"man"}
	plan.Drop = map[string][]string{"tool": {"/etc/tool.conf"}}
	got, _ := lay(t, plan, in, nil, 2)
	var listings []*Listing
	for _, data := range packages {
		p, err := deb.Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		l, err := List(p)
		if err != nil {
			t.Fatal(err)
		}
		listings = append(listings, l)
	}
	want, err := Expect(plan, listings)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Expect and Lay differ (-expect +lay):\n%s", d)
	}
	if has(got, "/etc/tool.conf") {
		t.Error("dropped path was laid out")
	}
}

func TestDpkgViewNamesEveryFileThatIsThere(t *testing.T) {
	in := store{}
	plan := in.plan(t, examplePackages(t))
	plan.Prune = []string{"man"}
	_, dir := lay(t, plan, in, nil, 2)
	got, err := os.ReadFile(filepath.Join(dir, "var/lib/dpkg/status.d/tool.md5sums"))
	if err != nil {
		t.Fatal(err)
	}
	want := `92eb5ffee6ae2fec3ad71c777531578f  etc/tool.conf
0cc175b9c0f1b6a831c399e269772661  usr/bin/alias
0cc175b9c0f1b6a831c399e269772661  usr/bin/tool
`
	if string(got) != want {
		t.Errorf("md5sums = %s, want conffiles too and no pruned file:\n%s", got, want)
	}
	control, err := os.ReadFile(filepath.Join(dir, "var/lib/dpkg/status.d/tool"))
	if err != nil || string(control) != "Package: tool\nVersion: 1.0-1\nArchitecture: all\n" {
		t.Errorf("status.d/tool = %q, %v", control, err)
	}
}

func TestPruneKeepsCopyrightFiles(t *testing.T) {
	entry := func(path, kind string) *Entry { return &Entry{Path: path, Type: kind} }
	p, err := newPruner([]string{"docs", "gconv", "locales", "man"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		e    *Entry
		want bool
	}{
		{entry("/usr/share/doc/tool/copyright", TypeFile), false},
		{entry("/usr/share/doc/tool/copyright", TypeSymlink), false},
		{entry("/usr/share/doc/tool", TypeSymlink), false},
		{entry("/usr/share/doc/tool", TypeDirectory), false},
		{entry("/usr/share/doc", TypeDirectory), false},
		{entry("/usr/share/doc/tool/changelog.gz", TypeFile), true},
		{entry("/usr/share/doc/tool/examples", TypeDirectory), true},
		{entry("/usr/share/doc/tool/examples/copyright", TypeFile), true},
		{entry("/usr/share/man", TypeDirectory), true},
		{entry("/usr/share/manual", TypeDirectory), false},
		{entry("/usr/lib/x86_64-linux-gnu/gconv", TypeDirectory), true},
		{entry("/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", TypeFile), true},
		{entry("/usr/lib/gconv", TypeDirectory), false},
		{entry("/usr/lib/x86_64-linux-gnu/libc.so.6", TypeFile), false},
		{entry("/usr/lib/locale/C.utf8/LC_CTYPE", TypeFile), false},
	} {
		if got := p.prunes(c.e); got != c.want {
			t.Errorf("prunes(%s %s) = %v, want %v", c.e.Type, c.e.Path, got, c.want)
		}
	}
	if _, err := newPruner([]string{"everything"}); err == nil {
		t.Error("unknown prune set was accepted")
	}
}

func TestSettle(t *testing.T) {
	listing := func(name string, entries ...Entry) *Listing {
		for i := range entries {
			entries[i].Origin = name
		}
		return &Listing{Package: name, Entries: entries}
	}
	file := Entry{Path: "/usr/bin/x", Type: TypeFile, Mode: 0o755}
	dir := func(mode Mode) Entry { return Entry{Path: "/srv", Type: TypeDirectory, Mode: mode} }
	below := Entry{Path: "/srv/f", Type: TypeFile}
	newer := func(by, of *Listing) bool { return by.Package == "new" }
	never := func(by, of *Listing) bool { return false }
	for _, c := range []struct {
		name     string
		listings []*Listing
		replaces func(by, of *Listing) bool
		want     string
		fails    bool
	}{
		{"replacing package wins", []*Listing{listing("old", file), listing("new", file)}, newer, "drop old /usr/bin/x", false},
		{"conflict without Replaces", []*Listing{listing("a", file), listing("b", file)}, never, "", true},
		{"both replace each other", []*Listing{listing("a", file), listing("b", file)}, func(_, _ *Listing) bool { return true }, "", true},
		{"agreeing directories", []*Listing{listing("a", dir(0o755)), listing("b", dir(0o755))}, never, "", false},
		{"first directory by name wins", []*Listing{listing("b", dir(0o755)), listing("a", dir(0o1777))}, never, "restore /srv 1777", false},
		{"base-files goes before all", []*Listing{listing("a", dir(0o700)), listing("base-files", dir(0o1777))}, never, "restore /srv 1777", false},
		{"implied directory is disputed too", []*Listing{listing("a", dir(0o1777)), listing("b", below)}, never, "restore /srv 1777", false},
		{"own files below an own directory", []*Listing{listing("a", dir(0o1777), below)}, never, "", false},
		{"file below another's link", []*Listing{listing("a", Entry{Path: "/srv", Type: TypeSymlink, Target: "x"}), listing("b", below)}, never, "", true},
	} {
		got, err := Settle(c.listings, c.replaces, nil)
		if (err != nil) != c.fails || err != nil && diag.IDOf(err) != diag.FileConflict {
			t.Errorf("%s: error %v", c.name, err)
			continue
		}
		var text []string
		for pkg, paths := range got.Drop {
			text = append(text, "drop "+pkg+" "+strings.Join(paths, " "))
		}
		for _, d := range got.Restore {
			text = append(text, "restore "+d.Path+" "+d.Mode)
		}
		if s := strings.Join(text, "; "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
}

func TestInventoryRoundTrip(t *testing.T) {
	in := store{}
	entries, _ := lay(t, in.plan(t, examplePackages(t)), in, nil, 2)
	var b bytes.Buffer
	if err := WriteInventory(&b, entries); err != nil {
		t.Fatal(err)
	}
	got, err := ReadInventory(&b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(entries, got); d != "" {
		t.Errorf("inventory changed on the way:\n%s", d)
	}
}

func TestDiskRefusesADirectoryInUse(t *testing.T) {
	in := store{}
	plan := in.plan(t, examplePackages(t))
	dir := t.TempDir()
	if err := os.Symlink("/nowhere", filepath.Join(dir, "usr")); err != nil {
		t.Fatal(err)
	}
	disk, err := NewDisk(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lay(plan, in.open, nil, disk, 2); err == nil {
		t.Error("a directory that holds a link was accepted")
	}
}

func TestReadPlanRefuses(t *testing.T) {
	for _, text := range []string{
		``, `{}`, `{"version":2,"packages":[{"name":"a1"}]}`, `{"version":1}`,
		`{"version":1,"packages":[{"name":"../x"}]}`, `{"version":1,"packages":[{"name":"a1"},{"name":"a1"}]}`,
		`{"version":1,"packages":[{"name":"a1"}],"prune":["all"]}`, `{"version":1,"packages":[{"name":"a1"}],"extra":1}`,
		`{"version":1,"packages":[{"name":"a1"}],"finish":{}}`,
	} {
		if _, err := ReadPlan(strings.NewReader(text)); err == nil {
			t.Errorf("ReadPlan(%s) was accepted", text)
		}
	}
	if _, err := ReadPlan(strings.NewReader(`{"version":1,"packages":[{"name":"a1","arch":"all","sha256":""}],"prune":["docs"]}`)); err != nil {
		t.Error(err)
	}
}

func FuzzReadPlan(f *testing.F) {
	f.Add(`{"version":1,"packages":[{"name":"a1","arch":"all","sha256":"00"}],"prune":["docs"]}`)
	f.Add(`{"version":1,"finish":{"users":[{"name":"root","home":"/root"}],"effects":[{"op":"link"}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		plan, err := ReadPlan(strings.NewReader(text))
		if err != nil || plan.Finish == nil {
			return
		}
		entries, err := Lay(plan, store{}.open, NewMemory(nil, nil), nothing{}, 1)
		if err == nil && !slices.IsSortedFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) }) {
			t.Error("entries are not sorted")
		}
	})
}
