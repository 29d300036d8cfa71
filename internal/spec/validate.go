package spec

import (
	"fmt"
	"slices"
	"strings"
)

// Validate checks what every consumer of a set relies on: references resolve, parents
// come before children, ids are unique, and lists without meaning in their order are
// sorted. A set that package template gives always holds; one read back may not.
func (s *Set) Validate() error {
	archives := map[string]bool{}
	for _, a := range s.Archives {
		if archives[a.Name] {
			return fmt.Errorf("archive %q twice", a.Name)
		}
		archives[a.Name] = true
		if len(a.Suites) == 0 || len(a.Components) == 0 || a.Keyring.SHA256 == "" {
			return fmt.Errorf("archive %q without suites, components or keyring", a.Name)
		}
	}
	if !slices.IsSortedFunc(s.Archives, func(a, b Archive) int { return strings.Compare(a.Name, b.Name) }) {
		return fmt.Errorf("archives are not sorted")
	}
	images := map[string]*Image{}
	for i := range s.Images {
		m := &s.Images[i]
		if images[m.Name] != nil {
			return fmt.Errorf("image %q twice", m.Name)
		}
		if m.Parent != "" && images[m.Parent] == nil {
			return fmt.Errorf("image %q: parent %q does not come before it", m.Name, m.Parent)
		}
		if err := m.validate(archives, images[m.Parent]); err != nil {
			return fmt.Errorf("image %q: %w", m.Name, err)
		}
		images[m.Name] = m
	}
	return nil
}

func (m *Image) validate(archives map[string]bool, parent *Image) error {
	if m.Name == "" || m.Version == "" || len(m.Platforms) == 0 {
		return fmt.Errorf("no name, version or platform")
	}
	if m.Compression != "zstd" && m.Compression != "gzip" {
		return fmt.Errorf("compression %q", m.Compression)
	}
	for _, a := range m.Packages.Archives {
		if !archives[a] {
			return fmt.Errorf("archive %q does not exist", a)
		}
	}
	for _, list := range [][]string{m.Platforms, m.Packages.Install, m.Packages.Prune, m.Config.Ports, m.Config.Volumes} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			return fmt.Errorf("%q is not sorted without repetition", list)
		}
	}
	if parent != nil {
		for _, p := range m.Platforms {
			if !slices.Contains(parent.Platforms, p) {
				return fmt.Errorf("parent %q is not for %s", parent.Name, p)
			}
		}
	}
	if err := m.validateAccounts(); err != nil {
		return err
	}
	return m.validateEntries()
}

func (m *Image) validateAccounts() error {
	gids := map[int]bool{}
	for i, g := range m.Groups {
		if i > 0 && m.Groups[i-1].GID >= g.GID {
			return fmt.Errorf("groups are not in order of unique gids at %q", g.Name)
		}
		gids[g.GID] = true
	}
	for i, u := range m.Users {
		if i > 0 && m.Users[i-1].UID >= u.UID {
			return fmt.Errorf("users are not in order of unique uids at %q", u.Name)
		}
		if !gids[u.GID] {
			return fmt.Errorf("user %q has gid %d of no group", u.Name, u.GID)
		}
	}
	return nil
}

func (m *Image) validateEntries() error {
	paths := map[string]bool{}
	claim := func(path string) error {
		if !strings.HasPrefix(path, "/") || paths[path] {
			return fmt.Errorf("path %q is relative or there twice", path)
		}
		paths[path] = true
		return nil
	}
	for _, f := range m.Files {
		if err := claim(f.Path); err != nil {
			return err
		}
		if f.SHA256 == "" || (f.URL == "") == (f.Content == nil && f.Size > 0) {
			return fmt.Errorf("file %q has no digest, or neither content nor url", f.Path)
		}
	}
	for _, d := range m.Directories {
		if err := claim(d.Path); err != nil {
			return err
		}
	}
	for _, l := range m.Symlinks {
		if err := claim(l.Path); err != nil {
			return err
		}
	}
	return nil
}
