package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"forge/internal/spec"
)

// accounts collects users and groups; the first to take a name or an id keeps it.
type accounts struct {
	users  []spec.User
	groups []spec.Group
}

func (a *accounts) addUser(u spec.User) {
	if !slices.ContainsFunc(a.users, func(x spec.User) bool { return x.Name == u.Name || x.UID == u.UID }) {
		a.users = append(a.users, u)
	}
}

func (a *accounts) addGroup(g spec.Group) {
	if !slices.ContainsFunc(a.groups, func(x spec.Group) bool { return x.Name == g.Name || x.GID == g.GID }) {
		a.groups = append(a.groups, g)
	}
}

// addPasswd adds the lines of a passwd(5) file.
func (a *accounts) addPasswd(data []byte) error {
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 7 {
			return fmt.Errorf("passwd line %q has not seven fields", line)
		}
		uid, errU := strconv.Atoi(f[2])
		gid, errG := strconv.Atoi(f[3])
		if errU != nil || errG != nil {
			return fmt.Errorf("passwd line %q has no numeric ids", line)
		}
		a.addUser(spec.User{Name: f[0], UID: uid, GID: gid, Gecos: f[4], Home: f[5], Shell: f[6]})
	}
	return nil
}

// addGroupFile adds the lines of a group(5) file.
func (a *accounts) addGroupFile(data []byte) error {
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 4 {
			return fmt.Errorf("group line %q has not four fields", line)
		}
		gid, err := strconv.Atoi(f[2])
		if err != nil {
			return fmt.Errorf("group line %q has no numeric id", line)
		}
		var members []string
		if f[3] != "" {
			members = strings.Split(f[3], ",")
		}
		a.addGroup(spec.Group{Name: f[0], GID: gid, Members: members})
	}
	return nil
}

// writeAccounts writes /etc/passwd and /etc/group: the template's accounts, then those
// of effects, then those of the layers below. There are no passwords, so no shadow.
func (f *finisher) writeAccounts() error {
	var all accounts
	for _, u := range f.plan.Users {
		all.addUser(u)
	}
	for _, g := range f.plan.Groups {
		all.addGroup(g)
	}
	for _, u := range f.users.users {
		all.addUser(u)
	}
	for _, g := range f.users.groups {
		all.addGroup(g)
	}
	if err := errors.Join(f.inherit("/etc/passwd", all.addPasswd), f.inherit("/etc/group", all.addGroupFile)); err != nil {
		return err
	}
	if len(all.users) == 0 && len(all.groups) == 0 {
		return nil
	}
	for _, g := range []generated{
		newFile("/etc/passwd", 0o644, all.passwd(), "accounts"),
		newFile("/etc/group", 0o644, all.group(), "accounts"),
	} {
		if _, ok := f.tree[g.entry.Path]; ok {
			continue // the template brings its own
		}
		if err := f.place(g); err != nil {
			return err
		}
	}
	return nil
}

// inherit hands an account file of the layers below to add, if they have it.
func (f *finisher) inherit(path string, add func([]byte) error) error {
	_, ok, err := f.below.Lookup(path)
	if !ok || err != nil {
		return err
	}
	data, err := f.below.Read(path)
	if err == nil {
		err = add(data)
	}
	if err != nil {
		return fmt.Errorf("%q of the layers below: %w", path, err)
	}
	return nil
}

func (a *accounts) passwd() []byte {
	slices.SortFunc(a.users, func(x, y spec.User) int { return cmp.Compare(x.UID, y.UID) })
	var b strings.Builder
	for _, u := range a.users {
		fmt.Fprintf(&b, "%s:x:%d:%d:%s:%s:%s\n", u.Name, u.UID, u.GID, u.Gecos, u.Home, u.Shell)
	}
	return []byte(b.String())
}

func (a *accounts) group() []byte {
	slices.SortFunc(a.groups, func(x, y spec.Group) int { return cmp.Compare(x.GID, y.GID) })
	var b strings.Builder
	for _, g := range a.groups {
		fmt.Fprintf(&b, "%s:x:%d:%s\n", g.Name, g.GID, strings.Join(g.Members, ","))
	}
	return []byte(b.String())
}
