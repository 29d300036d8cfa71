package rootfs

import (
	"fmt"
	"io"
	"strings"

	"forge/internal/debian/deb"
	"forge/internal/diag"
	"forge/internal/spec"
)

// finisher makes an image's last layer. What templates state comes first; an effect
// never takes the place of what is there, because maintainer scripts do not either.
type finisher struct {
	plan  *Finish
	in    Inputs
	below Below
	tree  tree
	made  map[string]generated // by path: what the sink is given beside directories
	users accounts
}

// finish works out the last layer: sorted entries with every parent, and the contents.
func finish(plan *Finish, in Inputs, below Below) ([]Entry, []generated, error) {
	f := &finisher{plan: plan, in: in, below: below, tree: tree{}, made: map[string]generated{}}
	for _, step := range []func() error{
		f.checkMerge, f.template, f.effects, f.writeAccounts, f.homes, f.restore,
		func() error { return f.tree.addParents(below.Lookup) },
	} {
		if err := step(); err != nil {
			return nil, nil, fmt.Errorf("finishing the image: %w", err)
		}
	}
	entries := f.tree.sorted()
	var made []generated
	for _, e := range entries {
		if e.Type != TypeDirectory {
			made = append(made, f.made[e.Path])
		}
	}
	return entries, made, nil
}

// checkMerge makes sure that programs find their loader and shell by the paths that
// are compiled into them.
func (f *finisher) checkMerge() error {
	for _, x := range []struct{ link, needed string }{
		{"/lib64", "/usr/lib64/ld-linux-x86-64.so.2"},
		{"/lib", "/usr/lib/ld-linux-aarch64.so.1"},
		{"/bin", "/usr/bin/sh"},
	} {
		_, is, err := f.below.Lookup(x.needed)
		if err != nil {
			return err
		}
		_, has, err := f.below.Lookup(x.link)
		if err != nil {
			return err
		}
		if is && !has {
			return diag.Errorf(diag.MissingMerge, "", "image has %q but no link %q", x.needed, x.link)
		}
	}
	return nil
}

// template places what the template itself states.
func (f *finisher) template() error {
	for _, d := range f.plan.Directories {
		e, err := directoryOf(d, "template")
		if err != nil {
			return fmt.Errorf("directory %q: %w", d.Path, err)
		}
		if err := f.state(generated{entry: e}, true); err != nil {
			return err
		}
	}
	for _, s := range f.plan.Symlinks {
		if err := f.state(generated{entry: symlink(s.Path, s.Target, "template")}, s.Replace); err != nil {
			return err
		}
	}
	for _, file := range f.plan.Files {
		g, err := f.templateFile(file)
		if err != nil {
			return fmt.Errorf("file %q: %w", file.Path, err)
		}
		if err := f.state(g, file.Replace); err != nil {
			return err
		}
	}
	return nil
}

func (f *finisher) templateFile(file spec.File) (generated, error) {
	mode, err := parseMode(file.Mode)
	if err != nil {
		return generated{}, err
	}
	in, err := f.in(file.SHA256)
	if err != nil {
		return generated{}, err
	}
	defer in.Close()
	return generated{
		entry: Entry{
			Path: file.Path, Type: TypeFile, Mode: mode, UID: file.UID, GID: file.GID, MTime: GeneratedTime,
			Size: in.Size(), SHA256: file.SHA256, Origin: "template",
		},
		open: func() (Input, error) { return f.in(file.SHA256) },
	}, nil
}

// state places an entry that a template states; over a lower layer's file only where
// replace allows it, over a directory never.
func (f *finisher) state(g generated, replace bool) error {
	e := &g.entry
	if err := f.settlePath(e); err != nil {
		return err
	}
	have, ok, err := f.below.Lookup(e.Path)
	if err != nil {
		return err
	}
	switch {
	case !ok || have.Type == TypeDirectory && e.Type == TypeDirectory:
	case have.Type == TypeDirectory || e.Type == TypeDirectory:
		return diag.Errorf(diag.FileConflict, "Choose another path.",
			"the template's %s %q would take the place of a %s", e.Type, e.Path, have.Type)
	case !replace:
		return diag.Errorf(diag.FileConflict, "Set `replace = true` if the image shall have the template's.",
			"the template's %s %q is already there from a package or parent", e.Type, e.Path)
	}
	return f.place(g)
}

// offer places what an effect makes, unless something has that path already.
func (f *finisher) offer(g generated) error {
	if err := f.settlePath(&g.entry); err != nil {
		return err
	}
	if _, ok := f.tree[g.entry.Path]; ok {
		return nil
	}
	if _, ok, err := f.below.Lookup(g.entry.Path); ok || err != nil {
		return err
	}
	return f.place(g)
}

func (f *finisher) place(g generated) error {
	if err := f.tree.add(g.entry); err != nil {
		return err
	}
	if g.entry.Type != TypeDirectory {
		f.made[g.entry.Path] = g
	}
	return nil
}

// settlePath checks an entry's path and gives it its usr-merged form.
func (f *finisher) settlePath(e *Entry) error {
	clean, err := deb.CleanPath(strings.TrimPrefix(e.Path, "/"))
	if err != nil || clean == "" || !strings.HasPrefix(e.Path, "/") || "/"+clean != e.Path {
		return diag.Errorf(diag.InvalidTemplate, "Write a clean absolute path.", "path %q of the %s is not a clean absolute path", e.Path, e.Origin)
	}
	if _, top := mergeLinks[e.Path]; top && e.Type != TypeDirectory {
		return diag.Errorf(diag.FileConflict, "Choose another path.", "path %q is a link of the usr-merged root", e.Path)
	}
	e.Path = merged(e.Path)
	return nil
}

// read gives a file's content as the finished image has it.
func (f *finisher) read(path string) ([]byte, error) {
	path = merged(path)
	g, ok := f.made[path]
	if !ok {
		return f.below.Read(path)
	}
	if g.open == nil {
		return g.content, nil
	}
	in, err := g.open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(io.NewSectionReader(in, 0, min(in.Size(), maxRead)))
}

// homes makes the home directories that are not there.
func (f *finisher) homes() error {
	for _, u := range f.plan.Users {
		if u.Home == "" || u.Home == "/" || strings.HasPrefix(u.Home, "/nonexistent") {
			continue
		}
		if err := f.offer(generated{entry: directory(u.Home, 0o700, u.UID, u.GID, "accounts")}); err != nil {
			return fmt.Errorf("home of %q: %w", u.Name, err)
		}
	}
	return nil
}

// restore states again the directories that the layers below disagree about.
func (f *finisher) restore() error {
	for _, d := range f.plan.Restore {
		e, err := directoryOf(d, "restore")
		if err != nil {
			return fmt.Errorf("directory %q: %w", d.Path, err)
		}
		if err := f.settlePath(&e); err != nil {
			return err
		}
		if err := f.tree.add(e); err != nil {
			return err
		}
	}
	return nil
}
