package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"forge/internal/archive/fetch"
	"forge/internal/archive/release"
	"forge/internal/debian/control"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

// Chain shows that every line of a lock is what a signed index of its suite says: the
// index of the locked release, or a newer one that still lists the package. A line
// that no signed index has is a diag.LockUnchained error which names it.
//
// Signatures are judged as of now. Valid-Until is not: that a lock is old does not make
// it false, and how old it may be is for others to judge.
func (c *Client) Chain(ctx context.Context, set *spec.Set, l *lock.File) error {
	open := newClaims(l)
	for _, r := range l.Releases {
		claims := open.of(r.Archive, r.Suite)
		if len(claims) == 0 {
			continue
		}
		i := slices.IndexFunc(set.Archives, func(a spec.Archive) bool { return a.Name == r.Archive })
		if i < 0 || !slices.Contains(set.Archives[i].Suites, r.Suite) {
			return claims[0].unchained("the templates have no suite %q in an archive %q", r.Suite, r.Archive)
		}
		if err := c.chainSuite(ctx, set.Archives[i], r, claims); err != nil {
			return fmt.Errorf("archive %q, suite %q: %w", r.Archive, r.Suite, err)
		}
	}
	for _, x := range open {
		if !x.proven {
			return x.unchained("the lock has no release of archive %q, suite %q", x.Archive, x.Suite)
		}
	}
	return nil
}

// claim is one package as the lock states it, and what indexes say about its name.
type claim struct {
	lock.Package
	image, platform string
	proven          bool
	said            string // what the index lists instead
}

type claims []*claim

// newClaims lists the distinct packages of a lock.
func newClaims(l *lock.File) claims {
	var all claims
	seen := map[lock.Package]bool{}
	for _, m := range l.Images {
		for _, p := range m.Packages {
			key := p
			key.Reason = ""
			if !seen[key] {
				seen[key] = true
				all = append(all, &claim{Package: p, image: m.Name, platform: m.Platform})
			}
		}
	}
	return all
}

func (all claims) of(archive, suite string) claims {
	var some claims
	for _, x := range all {
		if x.Archive == archive && x.Suite == suite {
			some = append(some, x)
		}
	}
	return some
}

func (all claims) firstOpen() *claim {
	for _, x := range all {
		if !x.proven {
			return x
		}
	}
	return nil
}

func (x *claim) unchained(format string, args ...any) error {
	return diag.Errorf(diag.LockUnchained, "", "package %s of template %q (%s): the lock says version %s (%s), %d bytes, SHA-256 %s, path %s; %s",
		x.Name, x.image, x.platform, x.Version, x.Arch, x.Size, x.SHA256, x.Path, fmt.Sprintf(format, args...))
}

// chainSuite proves claims from the locked release, as the cache has it; what is left
// from the release that the mirrors have now; and what is left then from the locked
// release again, as the snapshot service has it.
func (c *Client) chainSuite(ctx context.Context, a spec.Archive, r lock.Release, some claims) error {
	if c.cache.Has(r.SHA256) {
		roots, err := c.mirrors.Roots(a)
		if err != nil && diag.IDOf(err) != diag.NoMirror { // the cache may have everything
			return err
		}
		if err := c.chainLocked(ctx, a, r, roots, some); err != nil {
			return err
		}
	}
	if some.firstOpen() == nil {
		return nil
	}
	if err := c.chainCurrent(ctx, a, r, some); err != nil {
		return err
	}
	for _, root := range c.snapshots(a, &r) {
		if some.firstOpen() == nil {
			return nil
		}
		body, _, _, err := c.http.Conditional(ctx, inReleaseURL(root, r.Suite), fetch.Validator{}, release.MaxSize)
		if err != nil || sha256Hex(body) != r.SHA256 {
			continue // not there, or of another moment
		}
		if _, err := c.cache.Put(body); err != nil {
			return err
		}
		if err := c.chainLocked(ctx, a, r, []string{root}, some); err != nil {
			return err
		}
	}
	if x := some.firstOpen(); x != nil {
		return x.unchained("%s", cmp.Or(x.said, "no signed index of the suite lists a package of that name"))
	}
	return nil
}

// chainLocked proves claims from the locked release file, which is in the cache, and
// its indexes, from the cache or from roots.
func (c *Client) chainLocked(ctx context.Context, a spec.Archive, r lock.Release, roots []string, some claims) error {
	body, err := c.cached(r.SHA256)
	if err != nil {
		return err
	}
	keyring, err := release.ParseKeyring(a.Keyring.Data, a.SignedBy)
	if err != nil {
		return err
	}
	signed, err := release.Read(body, keyring, c.clock.Now())
	if err != nil || signed.CheckIdentity(a, r.Suite, nil, false) != nil {
		return nil // proves nothing, perhaps because its key has expired: another release decides
	}
	s := &suite{archive: a, name: r.Suite, roots: roots, signed: signed, body: body}
	found, err := s.locked(lockedArchs(r))
	if err != nil {
		return err
	}
	if err := checkRelease(r, found.Release); err != nil {
		return err
	}
	if err := c.fetchIndexes(ctx, []Suite{found}); err != nil {
		return ctx.Err() // not to be had any more: another release decides
	}
	return c.prove(ctx, found, some)
}

// lockedArchs are the architectures whose indexes a locked release has.
func lockedArchs(r lock.Release) []string {
	var archs []string
	for _, x := range r.Indexes {
		dir := strings.TrimSuffix(x.Path, "/Packages")
		_, arch, ok := strings.Cut(dir, "/binary-")
		if ok && arch != "all" && !slices.Contains(archs, arch) {
			archs = append(archs, arch)
		}
	}
	return archs
}

func (c *Client) chainCurrent(ctx context.Context, a spec.Archive, r lock.Release, some claims) error {
	s := &suite{archive: a, name: r.Suite}
	if err := c.openSuite(ctx, s, &r, false); err != nil {
		return err
	}
	found, err := s.locked(lockedArchs(r))
	if err != nil {
		return err
	}
	if found.Date == r.Date {
		if err := checkRelease(r, found.Release); err != nil {
			return err
		}
	}
	if err := c.fetchIndexes(ctx, []Suite{found}); err != nil {
		return err
	}
	return c.prove(ctx, found, some)
}

// checkRelease holds a release line of the lock to the signed release file of that hash
// or date.
func checkRelease(locked, signed lock.Release) error {
	if reflect.DeepEqual(locked, signed) {
		return nil
	}
	return diag.Errorf(diag.LockUnchained, "", "the release of %s in the lock (SHA-256 %s, signed by %s) is not what its signed release file says (SHA-256 %s, signed by %s)",
		locked.Date, locked.SHA256, locked.Fingerprint, signed.SHA256, signed.Fingerprint)
}

// prove reads the indexes of a verified suite and marks the claims that stand in them.
func (c *Client) prove(ctx context.Context, s Suite, some claims) error {
	for _, x := range s.indexes {
		found, err := c.find(x, s.Date, some)
		if errors.Is(err, errTorn) {
			if err = c.fetchIndex(ctx, x, s.roots); err == nil {
				found, err = c.find(x, s.Date, some)
			}
		}
		if err != nil {
			return fmt.Errorf("index %s: %w", x.Path, err)
		}
		for _, p := range found {
			p.proven = true
		}
	}
	return nil
}

// find gives the claims that one index, dated, proves, and notes what it says about
// the others.
func (c *Client) find(x index, date string, some claims) (found claims, err error) {
	byName := map[string]claims{}
	for _, p := range some {
		byName[p.Name] = append(byName[p.Name], p)
	}
	err = c.readIndex(x.Index, func(r io.Reader) error {
		stanzas := control.NewReader(r, "Package", "Version", "Architecture", "Source", "Filename", "Size", "SHA256")
		for {
			st, err := stanzas.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return diag.Errorf(diag.MalformedIndex, "", "%w", err)
			}
			for _, p := range byName[st.Get("Package")] {
				if p.matches(&st) {
					found = append(found, p)
					continue
				}
				p.said = fmt.Sprintf("the index of the release of %s says version %s (%s), %s bytes, SHA-256 %s, path %s",
					date, st.Get("Version"), st.Get("Architecture"), st.Get("Size"), st.Get("SHA256"), st.Get("Filename"))
			}
		}
	})
	return found, err
}

func (x *claim) matches(st *control.Stanza) bool {
	source, version := x.Name, x.Version
	if s := st.Get("Source"); s != "" {
		name, rest, versioned := strings.Cut(s, " ")
		source = name
		if versioned {
			version = strings.Trim(strings.TrimSpace(rest), "()")
		}
	}
	return st.Get("Version") == x.Version && st.Get("Architecture") == x.Arch && st.Get("Filename") == x.Path &&
		st.Get("Size") == fmt.Sprint(x.Size) && st.Get("SHA256") == x.SHA256 && source == x.Source && version == x.SourceVersion
}
