// Package attacks is what hostile and broken mirrors try, as data, and the one way to
// run it: against the real client, over loopback, with archives made on the spot.
//
// The table follows apt's own integration tests, whose names it gives as sources. An
// attack is beaten when the client refuses it under the right error id and leaves the
// lock and the cache's trusted files byte-identical. Cases that want no error are
// there to show that the client survives what is merely broken.
package attacks

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"forge/internal/archive"
	"forge/internal/archive/archivetest"
	"forge/internal/archive/fetch"
	"forge/internal/archive/mirror"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

// Case is one attack.
type Case struct {
	ID     string  // the row: "A5" and the like
	Title  string  // what the mirror does
	Source string  // where the case is from: a test of apt, a CVE
	Want   diag.ID // error that must come of it; "" where the work must succeed

	arrange func(*world)
	act     func(context.Context, *world) error // what forge is asked to do; nil: resolve anew
}

// Result is what came of one attack.
type Result struct {
	Case
	Got     diag.ID // the error's id
	Err     error   // what forge said
	Changed string  // trusted file that changed though it must not; "" when none did
}

// Passed tells whether the attack was beaten.
func (r Result) Passed() bool {
	return r.Got == r.Want && (r.Err == nil) == (r.Want == "") && r.Changed == ""
}

// Run runs every case in a directory of its own below dir, in order.
func Run(ctx context.Context, dir string) ([]Result, error) {
	keys := newKeys()
	var all []Result
	for i, c := range Cases() {
		r, err := run(ctx, c, keys, filepath.Join(dir, fmt.Sprintf("case-%02d", i+1)))
		if err != nil {
			return all, fmt.Errorf("preparing attack %s, %s: %w", c.ID, c.Title, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func run(ctx context.Context, c Case, keys *keys, dir string) (Result, error) {
	w, err := newWorld(ctx, keys, dir)
	if err != nil {
		return Result{}, err
	}
	defer w.server.Close()
	w.release(nil)
	c.arrange(w)
	before, err := w.trusted()
	if err != nil {
		return Result{}, err
	}
	act := c.act
	if act == nil {
		act = resolve
	}
	said := act(ctx, w)
	r := Result{Case: c, Got: diag.IDOf(said), Err: said}
	if r.Changed, err = w.misnamed(); err != nil || said == nil || r.Changed != "" {
		return r, err
	}
	after, err := w.trusted()
	r.Changed = firstDifference(before, after)
	return r, err
}

// The clock of every case. The first release was locked on day one; the attack comes
// with the second one.
var (
	born   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first  = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	second = time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC)
	now    = time.Date(2026, 6, 2, 12, 0, 0, 0, time.UTC)
)

// keys are the keys of all cases; all but unknown are in the keyring.
type keys struct {
	good, other, sub, expired, revoked, short, unknown *archivetest.Key
	keyring                                            []byte
}

func newKeys() *keys {
	k := &keys{
		good:    archivetest.NewKey("Good", born, archivetest.KeyOptions{}),
		other:   archivetest.NewKey("Other", born, archivetest.KeyOptions{}),
		sub:     archivetest.NewKey("Sub", born, archivetest.KeyOptions{Subkey: true}),
		expired: archivetest.NewKey("Expired", born, archivetest.KeyOptions{Lifetime: 24 * time.Hour}),
		revoked: archivetest.NewKey("Revoked", born, archivetest.KeyOptions{Revoked: true}),
		short:   archivetest.NewKey("Short", born, archivetest.KeyOptions{RSABits: 1024}),
		unknown: archivetest.NewKey("Unknown", born, archivetest.KeyOptions{}),
	}
	k.keyring = archivetest.Keyring(k.good, k.other, k.sub, k.expired, k.revoked, k.short)
	return k
}

// world is one archive, one client and one lock that was made from the first release.
type world struct {
	keys   *keys
	dir    string
	server *archivetest.Server
	files  archivetest.Files
	set    *spec.Set
	roots  []string // mirrors, by their names on the server
	locked *lock.File
	stall  time.Duration // after which the client gives a silent server up; zero for its default
}

const archiveName = "debian"

func newWorld(ctx context.Context, k *keys, dir string) (*world, error) {
	server, err := archivetest.Serve()
	if err != nil {
		return nil, err
	}
	w := &world{keys: k, dir: dir, server: server, roots: []string{archiveName}}
	w.set = &spec.Set{
		Archives: []spec.Archive{{Name: archiveName, Kind: "deb", Suites: []string{"trixie"}, Components: []string{"main"}, Keyring: spec.Keyring{Data: k.keyring}}},
		Images: []spec.Image{{
			Name: "base", Platforms: []string{"linux/amd64", "linux/arm64"},
			Packages: spec.Packages{Archives: []string{archiveName}, Install: []string{"app"}, Resolve: true},
		}},
	}
	w.publish(first, "1.0-1", nil)
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return nil, err
	}
	if err := resolve(ctx, w); err != nil {
		return nil, fmt.Errorf("locking the honest archive: %w", err)
	}
	server.Requests()
	return w, nil
}

// release publishes the second release, changed by edit.
func (w *world) release(edit func(*archivetest.Suite)) { w.publish(second, "2.0-1", edit) }

func (w *world) publish(date time.Time, version string, edit func(*archivetest.Suite)) {
	s := archivetest.Suite{
		Name: "trixie", Date: date, ValidUntil: date.Add(7 * 24 * time.Hour), Keys: []*archivetest.Key{w.keys.good},
		Packages: []archivetest.Package{
			{Name: "app", Version: version, Fields: map[string]string{"Depends": "lib (>= 1)"},
				Files: []archivetest.File{{Path: "/usr/bin/app", Content: strings.Repeat(version+"\n", 20000), Mode: 0o755}}},
			{Name: "lib", Version: version, Files: []archivetest.File{{Path: "/usr/lib/lib", Content: version}}},
		},
	}
	if edit != nil {
		edit(&s)
	}
	w.files = archivetest.Files{}
	w.files.Add(s)
	w.server.Put(archiveName, w.files)
}

func (w *world) client() (*archive.Client, error) {
	var roots []string
	for _, r := range w.roots {
		roots = append(roots, w.server.Root(r))
	}
	table, err := mirror.Load(mirror.Options{
		Env:      archiveName + "=" + strings.Join(roots, ","),
		Snapshot: w.server.Root("snapshot"),
	})
	if err != nil {
		return nil, err
	}
	return archive.New(archive.Options{
		CacheDir: filepath.Join(w.dir, "cache"), Mirrors: table,
		Config: fetch.Config{Attempts: 3, Stall: w.stall},
		Clock: fetch.Clock{
			Now:   func() time.Time { return now },
			Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		},
	})
}

// resolve locks anew, as `forge lock --update` does.
func resolve(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	l, err := c.Resolve(ctx, w.set, archive.ResolveOptions{Previous: w.locked})
	if err != nil {
		return err
	}
	w.locked = l
	return os.WriteFile(filepath.Join(w.dir, lock.FileName), lock.Encode(l), 0o644)
}

// download fetches the locked packages.
func download(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	for _, m := range w.locked.Images {
		if _, err := c.Packages(ctx, w.set, w.locked, m.Packages); err != nil {
			return err
		}
	}
	return nil
}

// chain checks the lock against signed indexes.
func chain(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	return c.Chain(ctx, w.set, w.locked)
}

// trusted reads the files that forge would believe the next time: the lock, and which
// answers of the archive were accepted.
func (w *world) trusted() (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, pattern := range []string{lock.FileName, "cache/answers/*"} {
		names, err := fs.Glob(os.DirFS(w.dir), pattern)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if all[n], err = os.ReadFile(filepath.Join(w.dir, n)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func firstDifference(before, after map[string][]byte) string {
	for name, data := range before {
		if !bytes.Equal(after[name], data) {
			return name
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			return name
		}
	}
	return ""
}

// misnamed gives a file of the cache that is not what its name says, or that is only
// half done.
func (w *world) misnamed() (string, error) {
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		return "", err
	}
	defer decoder.Close()
	bad := ""
	err = filepath.WalkDir(filepath.Join(w.dir, "cache"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		if sum, ok := strings.CutSuffix(name, ".zst"); ok {
			name = sum
			if data, err = decoder.DecodeAll(data, nil); err != nil {
				bad = path
				return nil
			}
		}
		kind := filepath.Base(filepath.Dir(path))
		if kind != "answers" && archivetest.SHA256(data) != name {
			bad = path
		}
		return nil
	})
	return bad, err
}
