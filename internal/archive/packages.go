package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"forge/internal/archive/fetch"
	"forge/internal/archive/release"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/spec"
)

// Package gives the path of a locked package's file in the cache, verified: from the
// cache, the mirrors in order, or, when it is gone from the pool, the snapshot service
// as of the day of the locked release.
func (c *Client) Package(ctx context.Context, set *spec.Set, l *lock.File, p lock.Package) (string, error) {
	file, err := c.getPackage(ctx, set, l, p)
	if err != nil {
		return "", fmt.Errorf("package %s %s (%s): %w", p.Name, p.Version, p.Arch, err)
	}
	return file, nil
}

func (c *Client) getPackage(ctx context.Context, set *spec.Set, l *lock.File, p lock.Package) (string, error) {
	i := slices.IndexFunc(set.Archives, func(a spec.Archive) bool { return a.Name == p.Archive })
	if i < 0 {
		return "", diag.Errorf(diag.LockStale, "", "the templates have no archive %q", p.Archive)
	}
	if c.cache.Has(p.SHA256) {
		return c.cache.Path(p.SHA256), nil // needs no mirror
	}
	roots, err := c.mirrors.Roots(set.Archives[i])
	if err != nil {
		return "", err
	}
	want := fetch.Want{SHA256: p.SHA256, Size: p.Size}
	file, err := c.cache.Get(ctx, c.http, want, join(roots, p.Path)...)
	if err == nil || !errors.Is(err, fetch.ErrNotFound) {
		return file, err
	}
	if past := c.snapshots(set.Archives[i], findRelease(l, p.Archive, p.Suite)); len(past) > 0 {
		file, err = c.cache.Get(ctx, c.http, want, join(past, p.Path)...)
	}
	if errors.Is(err, fetch.ErrNotFound) {
		return "", diag.Errorf(diag.PackageGone, "", "the archive does not have it any more: %w", err)
	}
	return file, err
}

func join(roots []string, name string) []string {
	urls := make([]string, len(roots))
	for i, r := range roots {
		urls[i] = fileURL(r, name)
	}
	return urls
}

// snapshots lists the roots at which the snapshot service should have what a release
// listed. The service takes the archive's state every six hours, so the state that
// first has a release is a little younger than the release's Date; the two others are
// for days on which it was late or early.
func (c *Client) snapshots(a spec.Archive, r *lock.Release) []string {
	if a.Snapshot != "" || r == nil || !c.mirrors.HasSnapshots(a) {
		return nil
	}
	date, err := time.Parse(time.RFC3339, r.Date)
	if err != nil {
		return nil
	}
	var roots []string
	for _, later := range []time.Duration{8 * time.Hour, 0, 24 * time.Hour} {
		roots = append(roots, c.mirrors.SnapshotRoot(a.Name, date.Add(later).UTC().Format(release.SnapshotFormat)))
	}
	return roots
}

// Packages gives the paths of packages' files by their SHA-256, several fetched at once.
func (c *Client) Packages(ctx context.Context, set *spec.Set, l *lock.File, packages []lock.Package) (map[string]string, error) {
	unique := slices.Clone(packages)
	slices.SortFunc(unique, func(a, b lock.Package) int { return strings.Compare(a.SHA256, b.SHA256) })
	unique = slices.CompactFunc(unique, func(a, b lock.Package) bool { return a.SHA256 == b.SHA256 })
	// the largest first: they decide when all are there
	slices.SortStableFunc(unique, func(a, b lock.Package) int { return int(min(max(b.Size-a.Size, -1), 1)) })
	err := each(ctx, c, unique, func(ctx context.Context, p lock.Package) (Progress, error) {
		_, err := c.Package(ctx, set, l, p)
		return Progress{Name: p.Name, Size: p.Size}, err
	})
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, p := range unique {
		files[p.SHA256] = c.cache.Path(p.SHA256)
	}
	return files, nil
}
