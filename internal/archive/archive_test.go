package archive_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"forge/internal/archive"
	"forge/internal/archive/archivetest"
	"forge/internal/archive/fetch"
	"forge/internal/archive/mirror"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

var (
	born = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	date = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	now  = time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC)
)

// bench is two archives, as Debian has them, and a client.
type bench struct {
	*archivetest.Server
	key  *archivetest.Key
	set  *spec.Set
	opts archive.Options
}

func pkg(name, version, depends string) archivetest.Package {
	p := archivetest.Package{Name: name, Version: version, Fields: map[string]string{}}
	if depends != "" {
		p.Fields["Depends"] = depends
	}
	return p
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := archivetest.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b := &bench{Server: s, key: archivetest.NewKey("Archive", born, archivetest.KeyOptions{})}
	keyring := spec.Keyring{Data: archivetest.Keyring(b.key)}
	b.set = &spec.Set{
		Variables: map[string]string{"suite": `"trixie"`},
		Archives: []spec.Archive{
			{Name: "debian", Kind: "deb", Suites: []string{"trixie", "trixie-updates"}, Components: []string{"main"}, Keyring: keyring},
			{Name: "debian-security", Kind: "deb", Suites: []string{"trixie-security"}, Components: []string{"main"}, Keyring: keyring},
			{Name: "unused", Kind: "deb", Suites: []string{"x"}, Components: []string{"main"}},
		},
		Images: []spec.Image{
			b.image("base", "", "libc6"),
			b.image("app", "base", "app"),
			b.image("bare", "base"),
		},
	}
	b.publish(date)
	b.open(t, t.TempDir(), fmt.Sprintf("debian=%s debian-security=%s", s.Root("debian"), s.Root("debian-security")))
	return b
}

func (b *bench) image(name, parent string, install ...string) spec.Image {
	return spec.Image{Name: name, Parent: parent, Platforms: []string{"linux/amd64", "linux/arm64"},
		Packages: spec.Packages{Archives: []string{"debian", "debian-security"}, Install: install, Resolve: true}}
}

func (b *bench) publish(at time.Time) {
	main, security := archivetest.Files{}, archivetest.Files{}
	suite := func(name string, packages ...archivetest.Package) archivetest.Suite {
		return archivetest.Suite{Name: name, Date: at, Keys: []*archivetest.Key{b.key}, Packages: packages}
	}
	native := pkg("libc6", "2.41-1", "")
	native.Arch = "arm64"
	amd64 := native
	amd64.Arch = "amd64"
	source := pkg("libssl3t64", "3.5-1+b1", "libc6")
	source.Fields["Source"] = "openssl (3.5-1)"
	main.Add(suite("trixie", native, amd64, pkg("app", "1", "libssl3t64, data"), pkg("data", "1", ""), source))
	main.Add(suite("trixie-updates", pkg("data", "2", "")))
	fixed := source
	fixed.Version = "3.5-1+deb13u1"
	fixed.Fields = map[string]string{"Depends": "libc6", "Source": "openssl"}
	security.Add(suite("trixie-security", fixed))
	b.Put("debian", main)
	b.Put("debian-security", security)
}

func (b *bench) open(t *testing.T, cache, mirrors string) {
	t.Helper()
	table, err := mirror.Load(mirror.Options{Env: mirrors, Snapshot: b.Root("snapshot")})
	if err != nil {
		t.Fatal(err)
	}
	b.opts = archive.Options{CacheDir: cache, Mirrors: table, Config: fetch.Config{Attempts: 2},
		Clock: fetch.Clock{Now: func() time.Time { return now }, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}}
}

// client is a new client, as a new process has it, over the same cache.
func (b *bench) client(t *testing.T) *archive.Client {
	t.Helper()
	c, err := archive.New(b.opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *bench) resolve(t *testing.T, previous *lock.File) *lock.File {
	t.Helper()
	l, err := b.client(t).Resolve(t.Context(), b.set, archive.ResolveOptions{Previous: previous})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func names(m lock.Image) string {
	var all []string
	for _, p := range m.Packages {
		all = append(all, p.Name+"="+p.Version+" "+p.Arch+" "+p.Archive+"/"+p.Suite)
	}
	return strings.Join(all, ", ")
}

func TestResolveFillsTheLock(t *testing.T) {
	b := newBench(t)
	l := b.resolve(t, nil)
	if _, err := lock.Decode(lock.Encode(l)); err != nil && !strings.Contains(err.Error(), "created") {
		t.Errorf("the lock does not read back: %v", err)
	}
	if l.Version != lock.FormatVersion || l.Layout != lock.LayoutVersion || l.Variables["suite"] != `"trixie"` {
		t.Errorf("lock = %+v", l)
	}
	var releases []string
	for _, r := range l.Releases {
		releases = append(releases, r.Archive+" "+r.Suite)
		if r.Fingerprint != b.key.Fingerprint() || r.Date != "2026-06-01T00:00:00Z" || len(r.SHA256) != 64 || r.Codename != r.Suite || len(r.Indexes) != 2 {
			t.Errorf("release %+v", r)
		}
	}
	if want := []string{"debian trixie", "debian trixie-updates", "debian-security trixie-security"}; !slices.Equal(releases, want) {
		t.Errorf("releases %q, want %q", releases, want)
	}
	app := "app=1 all debian/trixie, data=2 all debian/trixie-updates, libssl3t64=3.5-1+deb13u1 all debian-security/trixie-security"
	want := map[string]string{
		"base linux/amd64": "libc6=2.41-1 amd64 debian/trixie",
		"base linux/arm64": "libc6=2.41-1 arm64 debian/trixie",
		"app linux/amd64":  app, "app linux/arm64": app,
		"bare linux/amd64": "", "bare linux/arm64": "",
	}
	for _, m := range l.Images {
		key := m.Name + " " + m.Platform
		if got := names(m); got != want[key] {
			t.Errorf("%s: packages %q, want %q", key, got, want[key])
		}
		delete(want, key)
		if m.Groups != 1 || m.Spec != b.set.ImageDigest(m.Name) {
			t.Errorf("%s: groups %d, spec %s", key, m.Groups, m.Spec)
		}
	}
	if len(want) > 0 {
		t.Errorf("images missing: %v", want)
	}
}

func TestResolveIsDeterministic(t *testing.T) {
	b := newBench(t)
	one := lock.Encode(b.resolve(t, nil))
	b.opts.CacheDir = t.TempDir()
	if two := lock.Encode(b.resolve(t, nil)); string(one) != string(two) {
		t.Errorf("two locks of one archive differ:\n%s\n%s", one, two)
	}
}

func TestResolveAgainAsksOnlyForChanges(t *testing.T) {
	b := newBench(t)
	l := b.resolve(t, nil)
	b.Requests()
	again := b.resolve(t, l)
	if string(lock.Encode(again)) != string(lock.Encode(l)) {
		t.Error("the lock changed")
	}
	requests := b.Requests()
	for _, r := range requests {
		if !strings.HasSuffix(r.Path, "/InRelease") || r.Status != http.StatusNotModified {
			t.Errorf("request %s answered %d, want only unchanged release files", r.Path, r.Status)
		}
	}
	if len(requests) != 3 {
		t.Errorf("%d requests, want 3", len(requests))
	}
}

func TestResolveKeepsTheNumberOfGroups(t *testing.T) {
	b := newBench(t)
	l := b.resolve(t, nil)
	for i := range l.Images {
		l.Images[i].Groups = 3
	}
	for _, m := range b.resolve(t, l).Images {
		if m.Groups != 3 {
			t.Errorf("%s %s: %d groups, want the locked 3", m.Name, m.Platform, m.Groups)
		}
	}
}

func TestResolveOnlySomePackages(t *testing.T) {
	b := newBench(t)
	locked := b.resolve(t, nil)
	main, security := b.Files("debian"), b.Files("debian-security")
	suite := func(f archivetest.Files, name string, packages ...archivetest.Package) {
		f.Add(archivetest.Suite{Name: name, Date: date.Add(time.Hour), Keys: []*archivetest.Key{b.key}, Packages: packages})
	}
	suite(main, "trixie-updates", pkg("data", "2", ""), pkg("data", "3", ""), pkg("app", "2", "libssl3t64, data"))
	fixed := pkg("libssl3t64", "3.5-1+deb13u2", "libc6")
	fixed.Fields["Source"] = "openssl"
	suite(security, "trixie-security", fixed)
	b.Put("debian", main)
	b.Put("debian-security", security)
	resolve := func(only ...string) (string, error) {
		l, err := b.client(t).Resolve(t.Context(), b.set, archive.ResolveOptions{Previous: locked, Only: only})
		if err != nil {
			return "", err
		}
		return names(l.Images[0]), nil
	}
	const ssl = "libssl3t64=3.5-1+deb13u2 all debian-security/trixie-security"
	for _, c := range []struct {
		only []string
		want string
	}{
		{nil, "app=2 all debian/trixie-updates, data=3 all debian/trixie-updates, " + ssl},
		{[]string{"openssl"}, "app=1 all debian/trixie, data=2 all debian/trixie-updates, " + ssl},
		{[]string{"libssl3t64", "app"}, "app=2 all debian/trixie-updates, data=2 all debian/trixie-updates, " + ssl},
	} {
		if got, err := resolve(c.only...); err != nil || got != c.want {
			t.Errorf("only %q: %q, %v, want %q", c.only, got, err, c.want)
		}
	}
	if _, err := resolve("data"); diag.IDOf(err) != diag.Unresolvable || !strings.Contains(err.Error(), "libssl3t64") {
		t.Errorf("a locked version that is gone: %v, want Unresolvable naming it", err)
	}
}

func TestResolveFromFiles(t *testing.T) {
	b := newBench(t)
	byHTTP := lock.Encode(b.resolve(t, nil))
	dir := t.TempDir()
	for _, name := range []string{"debian", "debian-security"} {
		if err := b.Files(name).WriteDir(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	b.open(t, t.TempDir(), fmt.Sprintf("debian=file://%[1]s/debian debian-security=file://%[1]s/debian-security", dir))
	l := b.resolve(t, nil)
	if got := lock.Encode(l); string(got) != string(byHTTP) {
		t.Errorf("a file mirror gives another lock:\n%s\n%s", got, byHTTP)
	}
	if _, err := b.client(t).Packages(t.Context(), b.set, l, l.Images[0].Packages); err != nil {
		t.Error(err)
	}
}

func TestAllPackagesIndex(t *testing.T) {
	b := newBench(t)
	f := archivetest.Files{}
	f.Add(archivetest.Suite{Name: "own", Date: date, Keys: []*archivetest.Key{b.key}, Archs: []string{"amd64", "all"},
		Packages: []archivetest.Package{pkg("tool", "1", "")},
		EditRelease: func(s string) string {
			return strings.Replace(s, "No-Support-for-Architecture-all: Packages\n", "", 1)
		},
		EditIndex: func(name, text string) string {
			if strings.Contains(name, "binary-all") {
				return text
			}
			return ""
		}})
	b.Put("own", f)
	b.set.Archives = []spec.Archive{{Name: "own", Kind: "deb", Suites: []string{"own"}, Components: []string{"main"}, URL: b.Root("own"), Keyring: b.set.Archives[0].Keyring}}
	b.set.Images = []spec.Image{b.image("tool", "", "tool")}
	b.set.Images[0].Packages.Archives = []string{"own"}
	l := b.resolve(t, nil)
	for _, m := range l.Images {
		if got := names(m); got != "tool=1 all own/own" {
			t.Errorf("%s: %q", m.Platform, got)
		}
	}
	if err := b.client(t).Chain(t.Context(), b.set, l); err != nil {
		t.Error(err)
	}
}

func TestPackagesDelivers(t *testing.T) {
	b := newBench(t)
	l := b.resolve(t, nil)
	var all []lock.Package
	for _, m := range l.Images {
		all = append(all, m.Packages...)
	}
	var mu sync.Mutex
	var last archive.Progress
	b.opts.Progress = func(p archive.Progress) { mu.Lock(); defer mu.Unlock(); last = p }
	files, err := b.client(t).Packages(t.Context(), b.set, l, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		data, err := os.ReadFile(files[p.SHA256])
		if err != nil || archivetest.SHA256(data) != p.SHA256 {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	if last.Done != 5 || last.Total != 5 {
		t.Errorf("last progress %+v, want 5 of 5", last)
	}
	b.Requests()
	b.open(t, b.opts.CacheDir, "") // a cache that has everything needs no mirror
	if _, err := b.client(t).Packages(t.Context(), b.set, l, all); err != nil || len(b.Requests()) > 0 {
		t.Errorf("from the cache: %v", err)
	}
}

func TestChainOutlivesTheRelease(t *testing.T) {
	b := newBench(t)
	l := b.resolve(t, nil)
	chain := func() error { return b.client(t).Chain(t.Context(), b.set, l) }
	b.open(t, b.opts.CacheDir, "")
	if err := chain(); err != nil {
		t.Errorf("from the cache, without a mirror: %v", err)
	}
	mirrors := fmt.Sprintf("debian=%s debian-security=%s", b.Root("debian"), b.Root("debian-security"))
	b.open(t, t.TempDir(), mirrors)
	if err := chain(); err != nil {
		t.Errorf("with an empty cache: %v", err)
	}
	b.publish(date.Add(time.Hour))
	b.open(t, t.TempDir(), mirrors)
	if err := chain(); err != nil {
		t.Errorf("from a newer release that still lists everything: %v", err)
	}
	b.publish(date.Add(-time.Hour))
	b.open(t, t.TempDir(), mirrors)
	if err := chain(); diag.IDOf(err) != diag.ReleaseRollback {
		t.Errorf("from an older release: %v, want ReleaseRollback", err)
	}
}

func TestChainFromTheSnapshotService(t *testing.T) {
	b := newBench(t)
	l := b.resolve(t, nil)
	past := archivetest.Files{}
	for path, data := range b.Files("debian-security") {
		past["archive/debian-security/20260601T080000Z/"+path] = data
	}
	moved := archivetest.Files{}
	fixed := pkg("libssl3t64", "3.5-1+deb13u2", "")
	moved.Add(archivetest.Suite{Name: "trixie-security", Date: date.Add(time.Hour), Keys: []*archivetest.Key{b.key}, Packages: []archivetest.Package{fixed}})
	b.Put("debian-security", moved)
	mirrors := fmt.Sprintf("debian=%s debian-security=%s", b.Root("debian"), b.Root("debian-security"))
	b.open(t, t.TempDir(), mirrors)
	err := b.client(t).Chain(t.Context(), b.set, l)
	if diag.IDOf(err) != diag.LockUnchained || !strings.Contains(err.Error(), "3.5-1+deb13u2") {
		t.Errorf("gone everywhere: %v, want LockUnchained with what the index says", err)
	}
	b.Put("snapshot", past)
	if err := b.client(t).Chain(t.Context(), b.set, l); err != nil {
		t.Errorf("the snapshot service has the locked release: %v", err)
	}
}

func TestChainNamesTheLine(t *testing.T) {
	b := newBench(t)
	l := b.resolve(t, nil)
	p := &l.Images[0].Packages[0]
	for name, change := range map[string]func(*lock.Package){
		"hash":    func(p *lock.Package) { p.SHA256 = strings.Repeat("1", 64) },
		"size":    func(p *lock.Package) { p.Size++ },
		"path":    func(p *lock.Package) { p.Path = "pool/x.deb" },
		"version": func(p *lock.Package) { p.Version += "0" },
		"source":  func(p *lock.Package) { p.Source = "other" },
		"arch":    func(p *lock.Package) { p.Arch = "amd64" },
		"suite":   func(p *lock.Package) { p.Suite = "trixie-updates" },
		"archive": func(p *lock.Package) { p.Archive = "unused" },
	} {
		whole := *p
		change(p)
		err := b.client(t).Chain(t.Context(), b.set, l)
		if diag.IDOf(err) != diag.LockUnchained || !strings.Contains(err.Error(), p.Name) {
			t.Errorf("%s changed: %v, want LockUnchained naming %s", name, err, p.Name)
		}
		*p = whole
	}
}

func TestSnapshot(t *testing.T) {
	b := newBench(t)
	const moment = "20260601T060000Z"
	past := archivetest.Files{}
	for _, name := range []string{"debian", "debian-security"} {
		for path, data := range b.Files(name) {
			past["archive/"+name+"/"+moment+"/"+path] = data
		}
	}
	b.Put("snapshot", past)
	newest := b.resolve(t, nil)
	b.publish(date.Add(12 * time.Hour))
	moved := b.resolve(t, newest)
	for i := range b.set.Archives[:2] {
		b.set.Archives[i].Snapshot = moment
	}
	b.Requests()
	l := b.resolve(t, moved) // an older release, but a moment that the template names
	for _, r := range b.Requests() {
		if !strings.HasPrefix(r.Path, "/snapshot/") {
			t.Errorf("request to %s, want the snapshot service only", r.Path)
		}
	}
	for i, r := range l.Releases {
		if r.Snapshot != moment || r.SHA256 != newest.Releases[i].SHA256 {
			t.Errorf("release %+v", r)
		}
	}
	if _, err := b.client(t).Packages(t.Context(), b.set, l, l.Images[0].Packages); err != nil {
		t.Error(err)
	}
}

func TestSecondMirrorTakesOver(t *testing.T) {
	b := newBench(t)
	b.open(t, t.TempDir(), fmt.Sprintf("debian=%s,%s debian-security=%s", b.Root("none"), b.Root("debian"), b.Root("debian-security")))
	b.resolve(t, nil)
}

func TestNoMirror(t *testing.T) {
	b := newBench(t)
	b.open(t, t.TempDir(), "debian="+b.Root("debian"))
	_, err := b.client(t).Resolve(t.Context(), b.set, archive.ResolveOptions{})
	if diag.IDOf(err) != diag.NoMirror {
		t.Errorf("Resolve = %v, want NoMirror", err)
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.SetHook(func(_ http.ResponseWriter, r *http.Request) bool { cancel(); <-r.Context().Done(); return true })
	if _, err := b.client(t).Resolve(ctx, b.set, archive.ResolveOptions{}); err == nil || ctx.Err() == nil {
		t.Errorf("Resolve = %v, want it cancelled", err)
	}
	left, err := os.ReadDir(filepath.Join(b.opts.CacheDir, "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTwoProcessesAtOnce(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c, err := archive.New(b.opts)
			if err == nil {
				_, err = c.Resolve(t.Context(), b.set, archive.ResolveOptions{})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
