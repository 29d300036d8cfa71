package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"forge/internal/archive/solve"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

// ResolveOptions is what a resolution starts from.
type ResolveOptions struct {
	Previous     *lock.File // as in ReleaseOptions; images in it keep their number of groups
	AcceptChange bool       // as in ReleaseOptions
	Only         []string   // names of the source or binary packages that may leave their locked version; empty: all may
}

// Resolve pins every image of the set on each of its platforms. What needs the content
// of packages (Created, Drops, Restore) is not in the lock yet.
func (c *Client) Resolve(ctx context.Context, set *spec.Set, o ResolveOptions) (*lock.File, error) {
	archs, err := architectures(set)
	if err != nil {
		return nil, err
	}
	suites, keep, err := c.releases(ctx, set, ReleaseOptions{Previous: o.Previous, AcceptChange: o.AcceptChange, Archs: archs})
	if err != nil {
		return nil, err
	}
	out := &lock.File{Version: lock.FormatVersion, Layout: lock.LayoutVersion, Variables: maps.Clone(set.Variables)}
	for _, s := range suites {
		out.Releases = append(out.Releases, s.Release)
	}
	gone := map[string]string{}
	for _, arch := range archs {
		r := resolver{client: c, suites: suites, arch: arch, universes: map[string]*solve.Universe{}, own: map[string][]solve.Package{}, held: held(o, "linux/"+arch), gone: gone}
		for _, m := range set.Images {
			if !slices.Contains(m.Platforms, "linux/"+arch) {
				continue
			}
			image, err := r.image(ctx, set, m, o.Previous)
			if err != nil {
				return nil, fmt.Errorf("resolving template %q for linux/%s: %w", m.Name, arch, err)
			}
			out.Images = append(out.Images, image)
		}
	}
	if err := mustMove(gone); err != nil {
		return nil, err
	}
	slices.SortFunc(out.Images, func(a, b lock.Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Platform, b.Platform))
	})
	return out, keep()
}

// mustMove is the error of packages that were to stay at a locked version which the
// archives have dropped: all of them, so that one more command is enough.
func mustMove(gone map[string]string) error {
	if len(gone) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(gone))
	var texts []string
	for _, name := range names {
		texts = append(texts, gone[name])
	}
	return diag.Errorf(diag.Unresolvable, fmt.Sprintf("Add %q to --update.", strings.Join(names, ",")),
		"the archives have dropped locked versions that were to stay: %s", strings.Join(texts, "; "))
}

// architectures lists Debian's names of the set's platforms, sorted.
func architectures(set *spec.Set) ([]string, error) {
	seen := map[string]bool{}
	for _, m := range set.Images {
		for _, p := range m.Platforms {
			arch, ok := strings.CutPrefix(p, "linux/")
			if !ok || arch != "amd64" && arch != "arm64" {
				return nil, diag.Errorf(diag.InvalidTemplate, `Platforms are "linux/amd64" and "linux/arm64".`, "template %q: unknown platform %q", m.Name, p)
			}
			seen[arch] = true
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// resolver resolves images for one architecture. One universe is alive at a time,
// unless templates use different archives.
type resolver struct {
	client    *Client
	suites    []Suite
	arch      string
	universes map[string]*solve.Universe // by the archives in it
	own       map[string][]solve.Package // image -> its packages and its ancestors'
	held      map[string][]string        // package -> the versions that it may have
	gone      map[string]string          // held package whose versions the archives have dropped -> what they have
}

func (r *resolver) image(ctx context.Context, set *spec.Set, m spec.Image, previous *lock.File) (lock.Image, error) {
	out := lock.Image{Name: m.Name, Platform: "linux/" + r.arch, Spec: set.ImageDigest(m.Name), Parent: m.Parent}
	inherited := r.own[m.Parent]
	var chosen []solve.Selected
	if len(m.Packages.Install) > 0 {
		u, err := r.universe(ctx, m.Packages.Archives)
		if err != nil {
			return out, err
		}
		chosen, err = solve.Solve(u, solve.Request{
			Install: m.Packages.Install, Exclude: m.Packages.Exclude, Resolve: m.Packages.Resolve, Installed: inherited,
		})
		if err != nil {
			return out, err
		}
	}
	all := slices.Clone(inherited)
	for _, s := range chosen {
		if v := r.held[s.Name]; v != nil && !slices.Contains(v, s.Version) {
			r.gone[s.Name] = fmt.Sprintf("%s %s (they have %s)", s.Name, strings.Join(v, " or "), s.Version)
		}
		all = append(all, s.Package)
		out.Packages = append(out.Packages, lock.Package{
			Name: s.Name, Version: s.Version, Arch: s.Arch, Source: s.Source, SourceVersion: s.SourceVersion,
			Archive: s.Archive, Suite: s.Suite, Path: s.Path, Size: s.Size, SHA256: s.SHA256, Reason: s.Reason,
		})
	}
	r.own[m.Name] = all
	out.Groups = groups(previous, out)
	return out, nil
}

// held lists the packages of a platform that must stay at a locked version.
func held(o ResolveOptions, platform string) map[string][]string {
	versions := map[string][]string{}
	if o.Previous == nil || len(o.Only) == 0 {
		return versions
	}
	for _, m := range o.Previous.Images {
		if m.Platform != platform {
			continue
		}
		for _, p := range m.Packages {
			if !slices.Contains(o.Only, p.Name) && !slices.Contains(o.Only, p.Source) && !slices.Contains(versions[p.Name], p.Version) {
				versions[p.Name] = append(versions[p.Name], p.Version)
			}
		}
	}
	return versions
}

// groups is the number of package layers: as locked before, since another number moves
// every package, else by the number of packages.
func groups(previous *lock.File, m lock.Image) int {
	if previous != nil {
		for _, p := range previous.Images {
			if p.Name == m.Name && p.Platform == m.Platform {
				return p.Groups
			}
		}
	}
	switch n := len(m.Packages); {
	case n < 8:
		return 1
	case n < 24:
		return 2
	case n < 40:
		return 4
	}
	return 8
}

// universe reads the indexes of some archives, in the order of preference.
func (r *resolver) universe(ctx context.Context, archives []string) (*solve.Universe, error) {
	key := strings.Join(archives, " ")
	if u := r.universes[key]; u != nil {
		return u, nil
	}
	u, err := r.read(archives)
	if errors.Is(err, errTorn) {
		if err = r.client.fetchIndexes(ctx, r.suites); err == nil {
			u, err = r.read(archives)
		}
	}
	if err != nil {
		return nil, err
	}
	for name, versions := range r.held {
		u.Hold(name, versions)
	}
	r.universes[key] = u
	return u, nil
}

func (r *resolver) read(archives []string) (*solve.Universe, error) {
	u := solve.NewUniverse(r.arch)
	for _, name := range archives {
		for _, s := range r.suites {
			if s.Archive != name {
				continue
			}
			for _, x := range s.indexes {
				if x.arch != r.arch && x.arch != "all" {
					continue
				}
				from := solve.Index{Archive: s.Archive, Suite: s.Suite, Component: x.component, NotAutomatic: s.notAutomatic}
				if err := r.client.readIndex(x.Index, func(in io.Reader) error { return u.Add(from, in) }); err != nil {
					return nil, err
				}
			}
		}
	}
	return u, nil
}
