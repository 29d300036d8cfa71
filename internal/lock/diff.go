package lock

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"forge/internal/diag"
	"forge/internal/spec"
)

// Find gives the pins of one image on one platform; nil when there are none.
func (f *File) Find(name, platform string) *Image {
	i := slices.IndexFunc(f.Images, func(m Image) bool { return m.Name == name && m.Platform == platform })
	if i < 0 {
		return nil
	}
	return &f.Images[i]
}

// Release gives the pinned release of one suite; nil when there is none.
func (f *File) Release(archive, suite string) *Release {
	i := slices.IndexFunc(f.Releases, func(r Release) bool { return r.Archive == archive && r.Suite == suite })
	if i < 0 {
		return nil
	}
	return &f.Releases[i]
}

// ExpectedOf gives what a recorded build of an image gave on a platform, or of its
// index when platform is ""; nil when nothing was recorded.
func (f *File) ExpectedOf(name, platform string) *Expected {
	i := slices.IndexFunc(f.Expected, func(e Expected) bool { return e.Name == name && e.Platform == platform })
	if i < 0 {
		return nil
	}
	return &f.Expected[i]
}

// Fresh tells whether the lock pins exactly what the set asks for, for the named
// images and their ancestors (none named: all). The error has the id LockStale or
// LockMissing and names the image.
func (f *File) Fresh(set *spec.Set, names ...string) error {
	for _, m := range set.Images {
		if len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return inLineage(set, n, m.Name) }) {
			continue
		}
		for _, platform := range m.Platforms {
			pin := f.Find(m.Name, platform)
			if pin == nil {
				return diag.Errorf(diag.LockMissing, "", "%s does not pin template %q for %s", FileName, m.Name, platform)
			}
			if pin.Spec != set.ImageDigest(m.Name) {
				return diag.Errorf(diag.LockStale, "", "template %q has changed since it was locked", m.Name)
			}
		}
	}
	return nil
}

func inLineage(set *spec.Set, name, ancestor string) bool {
	return slices.ContainsFunc(set.Lineage(name), func(m *spec.Image) bool { return m.Name == ancestor })
}

// Change is one difference between two locks.
type Change struct {
	Image    string `json:"image,omitempty"`
	Platform string `json:"platform,omitempty"`
	Kind     string `json:"kind"` // added, removed, updated, release, image
	Name     string `json:"name"` // package, or "archive suite"
	Old      string `json:"old,omitempty"`
	New      string `json:"new,omitempty"`
	Suite    string `json:"suite,omitempty"` // where the new version comes from
}

// Diff lists what became different from old (which may be nil) to new, by image,
// platform, then name; releases come first.
func Diff(old, new *File) []Change {
	if old == nil {
		old = &File{}
	}
	var changes []Change
	for _, r := range new.Releases {
		before := old.Release(r.Archive, r.Suite)
		switch {
		case before == nil:
			changes = append(changes, Change{Kind: "release", Name: r.Archive + " " + r.Suite, New: r.Date})
		case before.SHA256 != r.SHA256:
			changes = append(changes, Change{Kind: "release", Name: r.Archive + " " + r.Suite, Old: before.Date, New: r.Date})
		}
	}
	for _, m := range new.Images {
		before := old.Find(m.Name, m.Platform)
		if before == nil {
			before = &Image{Spec: m.Spec}
		}
		own := diffPackages(before.Packages, m.Packages)
		if len(own) == 0 && before.Spec != m.Spec {
			own = []Change{{Kind: "image", Name: m.Name, Old: before.Spec, New: m.Spec}}
		}
		for _, c := range own {
			c.Image, c.Platform = m.Name, m.Platform
			changes = append(changes, c)
		}
	}
	for _, m := range old.Images {
		if new.Find(m.Name, m.Platform) == nil {
			changes = append(changes, Change{Image: m.Name, Platform: m.Platform, Kind: "removed", Name: m.Name})
		}
	}
	return changes
}

func diffPackages(old, new []Package) []Change {
	before := map[string]Package{}
	for _, p := range old {
		before[p.Name] = p
	}
	var changes []Change
	for _, p := range new {
		o, known := before[p.Name]
		delete(before, p.Name)
		switch {
		case !known:
			changes = append(changes, Change{Kind: "added", Name: p.Name, New: p.Version, Suite: p.Suite})
		case o.SHA256 != p.SHA256:
			changes = append(changes, Change{Kind: "updated", Name: p.Name, Old: o.Version, New: p.Version, Suite: p.Suite})
		}
	}
	for _, p := range before {
		changes = append(changes, Change{Kind: "removed", Name: p.Name, Old: p.Version})
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return changes
}

// WriteChanges prints changes for people. Platforms on which an image changed alike
// share one paragraph.
func WriteChanges(w io.Writer, changes []Change) {
	type paragraph struct {
		title string
		lines []string
	}
	var all []paragraph
	for _, c := range changes {
		title := "archives"
		if c.Image != "" {
			title = c.Image + " " + c.Platform
		}
		if len(all) == 0 || all[len(all)-1].title != title {
			all = append(all, paragraph{title: title})
		}
		last := &all[len(all)-1]
		last.lines = append(last.lines, c.text())
	}
	for i := 0; i < len(all); i++ {
		title := all[i].title
		for i+1 < len(all) && slices.Equal(all[i].lines, all[i+1].lines) {
			i++
			title += ", " + all[i].title
		}
		fmt.Fprintf(w, "%s\n", title)
		for _, l := range all[i].lines {
			fmt.Fprintf(w, "  %s\n", l)
		}
	}
}

func (c Change) text() string {
	c.Name, c.Old, c.New, c.Suite = diag.Escape(c.Name), diag.Escape(c.Old), diag.Escape(c.New), diag.Escape(c.Suite)
	switch c.Kind {
	case "added":
		return fmt.Sprintf("+ %s %s  (%s)", c.Name, c.New, c.Suite)
	case "removed":
		return fmt.Sprintf("- %s %s", c.Name, c.Old)
	case "updated":
		if c.Old == c.New {
			return fmt.Sprintf("~ %s %s: another file of the same version  (%s)", c.Name, c.New, c.Suite)
		}
		return fmt.Sprintf("~ %s %s -> %s  (%s)", c.Name, c.Old, c.New, c.Suite)
	case "release":
		if c.Old == "" {
			return fmt.Sprintf("+ %s of %s", c.Name, c.New)
		}
		return fmt.Sprintf("~ %s of %s -> %s", c.Name, c.Old, c.New)
	default:
		return "~ template changed, packages did not"
	}
}
