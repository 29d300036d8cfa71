// Package archive gets packages from archives: it fetches and verifies release files
// and package indexes, resolves what a set of templates asks for to a lock, delivers
// locked packages, and shows that a lock is what signed indexes say.
//
// Trust goes one way: the template's keyring signs the release file, which has the
// hashes of the indexes, which have the hashes of the packages. Nothing is kept as
// trusted before all of one command's files were verified.
package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"forge/internal/archive/fetch"
	"forge/internal/archive/mirror"
	"forge/internal/archive/release"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

// Options is everything a client works with.
type Options struct {
	CacheDir string
	Config   fetch.Config
	Mirrors  mirror.Table
	Clock    fetch.Clock
	Progress func(Progress) // may be nil; never called by two goroutines at once
}

// Progress tells that one file has arrived, from the network or the cache.
type Progress struct {
	Name        string // of an index or a package
	Size        int64  // bytes
	Done, Total int    // files of this step
}

// Client talks to archives. It is safe for use by several goroutines.
type Client struct {
	cache    *fetch.Cache
	http     *fetch.Client
	mirrors  mirror.Table
	clock    fetch.Clock
	progress func(Progress)
}

// New opens the cache and makes a client.
func New(o Options) (*Client, error) {
	cache, err := fetch.OpenCache(o.CacheDir, o.Clock.Now())
	if err != nil {
		return nil, err
	}
	http, err := fetch.New(o.Config, o.Clock)
	if err != nil {
		return nil, err
	}
	c := &Client{cache: cache, http: http, mirrors: o.Mirrors, clock: o.Clock, progress: o.Progress}
	if c.progress == nil {
		c.progress = func(Progress) {}
	}
	return c, nil
}

// suite is one suite's release file, verified, and where it came from.
type suite struct {
	archive spec.Archive
	name    string
	roots   []string // the mirror that gave the release file first
	body    []byte   // InRelease
	url     string   // of InRelease; "" when it came from the cache alone
	answer  fetch.Answer
	signed  *release.Release
}

// Suite is a verified release and its indexes, which are in the cache.
type Suite struct {
	lock.Release
	archive      spec.Archive
	notAutomatic bool
	roots        []string
	indexes      []index
}

// ReleaseOptions says what releases are held against.
type ReleaseOptions struct {
	Previous     *lock.File // the floor: no release may be older, none may change its identity; nil for none
	AcceptChange bool       // a changed identity is accepted, an older release never
	Archs        []string   // Debian's names of the architectures whose indexes are wanted
}

// Releases gives the suites of every archive that an image of the set uses, by archive
// and suite: release files verified, indexes there. Either all are good, or the first
// fault is returned and nothing is kept as trusted.
func (c *Client) Releases(ctx context.Context, set *spec.Set, o ReleaseOptions) ([]Suite, error) {
	suites, keep, err := c.releases(ctx, set, o)
	if err != nil {
		return nil, err
	}
	return suites, keep()
}

// releases is Releases, but for keeping the release files, which keep does: it is
// called when everything that they lead to has proved sound.
func (c *Client) releases(ctx context.Context, set *spec.Set, o ReleaseOptions) (suites []Suite, keep func() error, err error) {
	open, err := c.openSuites(ctx, set, o)
	if err != nil {
		return nil, nil, err
	}
	suites = make([]Suite, len(open))
	for i, s := range open {
		if suites[i], err = s.locked(o.Archs); err != nil {
			return nil, nil, err
		}
	}
	if err := c.fetchIndexes(ctx, suites); err != nil {
		return nil, nil, err
	}
	return suites, func() error { return c.keep(open) }, nil
}

func (c *Client) keep(open []*suite) error {
	for _, s := range open {
		sum, err := c.cache.Put(s.body)
		if err != nil {
			return err
		}
		s.answer.SHA256 = sum
		if err := c.cache.SetAnswer(s.url, s.answer); err != nil {
			return err
		}
	}
	return nil
}

// openSuites fetches and judges the release files, several at once.
func (c *Client) openSuites(ctx context.Context, set *spec.Set, o ReleaseOptions) ([]*suite, error) {
	var open []*suite
	for _, a := range usedArchives(set) {
		for _, name := range a.Suites {
			open = append(open, &suite{archive: a, name: name})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range open {
		g.Go(func() error {
			if err := c.openSuite(ctx, s, findRelease(o.Previous, s.archive.Name, s.name), o.AcceptChange); err != nil {
				return fmt.Errorf("archive %q, suite %q: %w", s.archive.Name, s.name, err)
			}
			return nil
		})
	}
	return open, g.Wait()
}

func usedArchives(set *spec.Set) []spec.Archive {
	used := map[string]bool{}
	for _, m := range set.Images {
		for _, a := range m.Packages.Archives {
			used[a] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(set.Archives), func(a spec.Archive) bool { return !used[a.Name] })
}

func findRelease(f *lock.File, archive, suite string) *lock.Release {
	if f == nil {
		return nil
	}
	i := slices.IndexFunc(f.Releases, func(r lock.Release) bool { return r.Archive == archive && r.Suite == suite })
	if i < 0 {
		return nil
	}
	return &f.Releases[i]
}

// openSuite takes the release file of the first mirror that has an acceptable one.
func (c *Client) openSuite(ctx context.Context, s *suite, locked *lock.Release, accept bool) error {
	keyring, err := release.ParseKeyring(s.archive.Keyring.Data, s.archive.SignedBy)
	if err != nil {
		return err
	}
	roots, err := c.mirrors.Roots(s.archive)
	if err != nil {
		return err
	}
	var first error
	for i, root := range roots {
		err := c.openAt(ctx, s, root, keyring)
		if err == nil {
			err = cmp.Or(s.signed.CheckTime(s.archive, c.clock.Now()), s.signed.CheckIdentity(s.archive, s.name, locked, accept))
		}
		if err == nil {
			s.roots = slices.Concat(roots[i:i+1], roots[:i], roots[i+1:])
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		first = cmp.Or(first, err)
	}
	return first
}

// openAt fetches a release file from one mirror, unless the mirror says that the last
// accepted one still stands, and verifies its signature in both cases.
func (c *Client) openAt(ctx context.Context, s *suite, root string, keyring release.Keyring) error {
	s.url = inReleaseURL(root, s.name)
	s.answer = c.cache.Answer(s.url)
	body, validator, fresh, err := c.http.Conditional(ctx, s.url, s.answer.Validator, release.MaxSize)
	if errors.Is(err, fetch.ErrNotFound) {
		return diag.Errorf(diag.Transport, "Check the suite's name and the mirror's address; forge reads archives that sign with an InRelease file.", "%w", err)
	}
	if err != nil {
		return err
	}
	if fresh {
		s.answer.Validator = validator
	} else if body, err = c.cached(s.answer.SHA256); err != nil {
		return err
	}
	s.body = body
	s.signed, err = release.Read(body, keyring, c.clock.Now())
	return err
}

func inReleaseURL(root, suite string) string {
	return fileURL(root, path.Join("dists", suite, "InRelease"))
}

// fileURL joins a root and a path of the archive, escaped.
func fileURL(root, name string) string {
	return root + "/" + (&url.URL{Path: name}).EscapedPath()
}

// locked gives the suite as the lock states it, and which indexes are wanted.
func (s *suite) locked(archs []string) (Suite, error) {
	r := s.signed
	out := Suite{
		Release: lock.Release{
			SHA256:  sha256Hex(s.body),
			Archive: s.archive.Name, Suite: s.name, Origin: r.Origin, Label: r.Label, Codename: r.Codename, Version: r.Version,
			Date: lockTime(r.Date), AsOf: s.archive.AsOf, Snapshot: s.archive.Snapshot, Fingerprint: r.Signer,
		},
		archive: s.archive, notAutomatic: r.NotAutomatic, roots: s.roots,
	}
	if !r.ValidUntil.IsZero() {
		out.ValidUntil = lockTime(r.ValidUntil)
	}
	for _, component := range s.archive.Components {
		for _, arch := range wantedArchs(r, archs) {
			x, err := findIndex(r, s.name, component, arch)
			if err != nil {
				return Suite{}, fmt.Errorf("archive %q, suite %q: %w", s.archive.Name, s.name, err)
			}
			out.indexes = append(out.indexes, x)
			out.Indexes = append(out.Indexes, x.Index)
		}
	}
	slices.SortFunc(out.Indexes, func(a, b lock.Index) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// wantedArchs adds the index of packages for all architectures where it stands alone,
// and leaves out architectures that the suite does not have.
func wantedArchs(r *release.Release, archs []string) []string {
	var out []string
	for _, a := range archs {
		if len(r.Architectures) == 0 || slices.Contains(r.Architectures, a) {
			out = append(out, a)
		}
	}
	if slices.Contains(r.Architectures, "all") && !r.NoAllPackages {
		out = append(out, "all")
	}
	return out
}

// each runs f for every item, several at once, and reports progress.
func each[T any](ctx context.Context, c *Client, items []T, f func(ctx context.Context, item T) (Progress, error)) error {
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * fetch.DefaultParallel)
	for _, item := range items {
		g.Go(func() error {
			p, err := f(ctx, item)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			p.Done, p.Total = done, len(items)
			c.progress(p)
			return nil
		})
	}
	return g.Wait()
}
