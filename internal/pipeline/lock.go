package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"forge/internal/archive"
	"forge/internal/debian/dependency"
	"forge/internal/diag"
	"forge/internal/effect"
	"forge/internal/lock"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

// Locked is the outcome of Lock.
type Locked struct {
	Old     *lock.File // nil when there was none
	New     *lock.File
	Changes []lock.Change // without releases that only became newer
}

// ResolveOptions refine Resolve.
type ResolveOptions struct {
	AcceptIdentity bool     // an archive's changed suite, codename, origin or label is accepted
	Only           []string // source or binary packages that may move; none: all
}

// Resolve works out what the lock of a set would be now, from the archives as they
// are. old, which may be nil, is the floor against rollback.
func (h *Host) Resolve(ctx context.Context, set *spec.Set, old *lock.File, o ResolveOptions) (*Locked, error) {
	archives, err := h.archives()
	if err != nil {
		return nil, err
	}
	h.Note("resolving packages")
	now, err := archives.Resolve(ctx, set, archive.ResolveOptions{Previous: old, AcceptChange: o.AcceptIdentity, Only: o.Only})
	if err != nil {
		return nil, err
	}
	h.Note("reading what %d packages ship", countPackages(now))
	if err := h.settle(ctx, archives, set, now); err != nil {
		return nil, err
	}
	if old != nil {
		now.Expected = keepExpected(old, now)
	}
	changes := slices.DeleteFunc(lock.Diff(old, now), func(c lock.Change) bool { return c.Kind == "release" && c.Old != "" })
	return &Locked{Old: old, New: now, Changes: changes}, nil
}

// keepExpected keeps what builds gave for the images whose pins, and whose ancestors'
// pins, are the same in both locks.
func keepExpected(old, now *lock.File) []lock.Expected {
	changed := map[string]bool{}
	for _, c := range lock.Diff(old, now) {
		if c.Image != "" {
			changed[c.Image] = true
		}
	}
	// Parents stand before children only by accident of their names: repeat until
	// nothing new is marked.
	for again := true; again; {
		again = false
		for _, m := range now.Images {
			if changed[m.Parent] && !changed[m.Name] {
				changed[m.Name], again = true, true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(old.Expected), func(e lock.Expected) bool { return changed[e.Name] })
}

// settle completes a resolved lock with what only the package files can tell: who owns
// a path of two packages, directories that packages disagree about, the creation date,
// and whether each maintainer script has a record.
func (h *Host) settle(ctx context.Context, archives *archive.Client, set *spec.Set, f *lock.File) error {
	files := archiveFiles(archives, set, f)
	var everything []lock.Package
	for _, m := range f.Images {
		everything = append(everything, m.Packages...)
	}
	if _, err := h.effectsOf(ctx, files, set, everything); err != nil {
		return err
	}
	for i := range f.Images {
		m := &f.Images[i]
		var stated []spec.Directory
		for _, ancestor := range set.Lineage(m.Name) {
			stated = append(stated, ancestor.Directories...)
		}
		all, err := h.contentsOf(ctx, files, lineagePackages(set, f, target{m.Name, m.Platform}))
		if err != nil {
			return err
		}
		if err := settleImage(m, all, stated); err != nil {
			return fmt.Errorf("image %q on %s: %w", m.Name, m.Platform, err)
		}
	}
	return nil
}

func settleImage(m *lock.Image, all []*contents, stated []spec.Directory) error {
	var listings []*rootfs.Listing
	newest := int64(0)
	for _, c := range all {
		listings = append(listings, c.Listing)
		for _, e := range c.Listing.Entries {
			newest = max(newest, e.MTime)
		}
	}
	settled, err := rootfs.Settle(listings, replaces, stated)
	if err != nil {
		return err
	}
	m.Created = time.Unix(newest, 0).UTC().Format(time.RFC3339)
	m.Restore = settled.Restore
	m.Drops = nil
	for _, p := range m.Packages {
		for _, path := range settled.Drop[p.Name] {
			m.Drops = append(m.Drops, lock.Drop{Package: p.Name, Path: path})
		}
	}
	return nil
}

// replaces tells whether the Replaces field of package by covers package of (Debian
// policy 7.6.1).
func replaces(by, of *rootfs.Listing) bool {
	groups, err := dependency.Parse(unfold(stanzaOf(by.Control).Get("Replaces")))
	if err != nil {
		return false
	}
	for _, g := range groups {
		for _, a := range g {
			if a.Name == of.Package && (a.Version == "" || a.Op.Holds(of.Version, a.Version)) {
				return true
			}
		}
	}
	return false
}

// effectsOf gives the declared effects of packages' maintainer scripts, by the
// packages' SHA-256. A script without a record is diag.UnknownScript.
func (h *Host) effectsOf(ctx context.Context, files packageFiles, set *spec.Set, packages []lock.Package) (map[string][]spec.Effect, error) {
	read, err := h.scriptsOf(ctx, files, packages)
	if err != nil {
		return nil, err
	}
	out := map[string][]spec.Effect{}
	var unknown []error
	for i, p := range packages {
		matched, err := effect.Match(p.Name, read[i].Scripts, set.Scripts)
		if diag.IDOf(err) == diag.UnknownScript {
			unknown = append(unknown, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		out[p.SHA256] = matched
	}
	return out, unknownScripts(unknown)
}

// unknownScripts makes one error of those of several packages, so that one round of
// reviewing is enough.
func unknownScripts(all []error) error {
	if len(all) < 2 {
		return errors.Join(all...)
	}
	var texts, blocks []string
	for _, err := range all {
		var coded *diag.Error
		if errors.As(err, &coded) && !slices.Contains(texts, coded.Error()) {
			texts = append(texts, coded.Error())
			block := coded.NextStep()
			if _, code, ok := strings.Cut(block, "\n\n"); ok && len(blocks) > 0 {
				block = code // the sentence before it stands once
			}
			blocks = append(blocks, block)
		}
	}
	return diag.Errorf(diag.UnknownScript, strings.Join(blocks, "\n"), "%s", strings.Join(texts, "\n"))
}
