package solve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"forge/internal/debian/dependency"
	"forge/internal/debian/version"
	"forge/internal/diag"
)

// resolveRequests turns the request's texts into nodes, sorted by name.
func (s *solver) resolveRequests() error {
	for _, text := range pinnedFirst(s.request.Install) {
		name, want, pinned := strings.Cut(text, "=")
		if !dependency.ValidName(name) || pinned && version.Validate(want) != nil {
			return unresolvable("", "%q is not a package name or name=version", text)
		}
		if _, excluded := s.request.Exclude[name]; excluded {
			return unresolvable("Remove it from `install` or from `exclude`.", "package %q is both in install and in exclude", name)
		}
		n, err := s.requestedNode(name, want)
		if err == nil {
			err = s.malformed
		}
		if err != nil {
			return err
		}
		if !slices.Contains(s.requested, n) {
			s.requested = append(s.requested, n)
		}
	}
	slices.SortFunc(s.requested, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return nil
}

// pinnedFirst orders requests so that a version, once named, holds for the bare name.
func pinnedFirst(install []string) []string {
	return slices.SortedFunc(slices.Values(install), func(a, b string) int {
		return cmp.Or(first(strings.Contains(a, "="), strings.Contains(b, "=")), strings.Compare(a, b))
	})
}

func (s *solver) requestedNode(name, want string) (*node, error) {
	n := s.node(name)
	switch {
	case n.cand == nil && s.malformed == nil:
		return s.virtual(name, want)
	case want == "" || n.cand == nil || n.cand.Version == want:
		return n, nil
	case n.installed:
		return nil, unresolvable(fmt.Sprintf("Pin %s=%s in the parent template instead.", name, want),
			"package %s=%s is requested, but the parent image has %s", name, want, n.cand.Version)
	}
	if slices.Contains(s.requested, n) {
		return nil, unresolvable("", "package %q is requested in two versions, %s and %s", name, n.cand.Version, want)
	}
	var have []string
	for _, e := range s.universe.names[name] {
		if e.version == want {
			n.cand = s.read(e)
			return n, nil
		}
		have = append(have, e.version+" in "+e.where())
	}
	return nil, unresolvable("", "package %s=%s is requested, but the archives have %s", name, want, strings.Join(have, ", "))
}

// virtual finds the package that provides a requested name, as apt does: only when
// there is exactly one.
func (s *solver) virtual(name, want string) (*node, error) {
	g := group{dependency.Group{{Name: name}}, "depends on"}
	if want != "" {
		g.Group[0].Op, g.Group[0].Version = version.Exactly, want
	}
	options := s.solutions(g)
	switch len(options) {
	case 0:
		return nil, unresolvable("", "no package %q in the archives%s", name, s.didYouMean(name))
	case 1:
		return options[0], nil
	}
	return nil, tie{group: g, options: options}.chooseOne()
}

// didYouMean names the package whose name is nearest, "" when none is near.
func (s *solver) didYouMean(name string) string {
	best, distance := "", 3
	for other := range s.universe.names {
		if len(other) > len(name)+2 || len(name) > len(other)+2 {
			continue
		}
		if d := levenshtein.Distance(name, other, nil); d < distance || d == distance && other < best {
			best, distance = other, d
		}
	}
	if best == "" || distance*3 > len(name) {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

func unresolvable(next, format string, args ...any) error {
	return diag.Errorf(diag.Unresolvable, next, format, args...)
}
