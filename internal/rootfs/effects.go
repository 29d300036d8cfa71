package rootfs

import (
	"fmt"
	"slices"
	"strings"

	"forge/internal/spec"
)

// Op is one word of the vocabulary in which script-effect records say what a
// maintainer script would have done.
type Op struct {
	Name   string
	Doc    string
	Fields []string // of spec.Effect that must be set, by their JSON names

	run func(*finisher, spec.Effect) error
}

// Ops lists the vocabulary. But for attributes, directory and line, an op never changes what is already
// there, from packages, parents or the template.
func Ops() []Op {
	return []Op{
		{"accounts", "users and groups of base-passwd's master files", nil, (*finisher).opAccounts},
		{"alternative", "`target` serves as `path` if its `priority` is the highest; `content` is the alternative's name where it is not the path's last part", []string{"path", "target"}, nil},
		{"attributes", "file `path` of a package gets `mode` and `owner`", []string{"path", "mode", "owner"}, (*finisher).opAttributes},
		{"ca-bundle", "/etc/ssl/certs/ca-certificates.crt of all certificates below /usr/share/ca-certificates and /usr/local/share/ca-certificates", nil, (*finisher).opCABundle},
		{"copy", "file `path` is a copy of the image's file `target`", []string{"path", "target"}, (*finisher).opCopy},
		{"directory", "directory `path` with `mode` and `owner`, also if it is there already", []string{"path"}, (*finisher).opDir},
		{"file", "file `path` with `content`", []string{"path"}, (*finisher).opFile},
		{"group", "group `target` with the gid of `owner`", []string{"target", "owner"}, (*finisher).opGroup},
		{"java-cacerts", "/etc/ssl/certs/java/cacerts of the same certificates as ca-bundle", nil, (*finisher).opJavaCACerts},
		{"line", "line `content` in file `path`", []string{"path", "content"}, (*finisher).opLine},
		{"symlink", "symbolic link `path` to `target`", []string{"path", "target"}, (*finisher).opLink},
		{"none", "nothing that an image needs", nil, func(*finisher, spec.Effect) error { return nil }},
		{"user", "user `target` with the ids of `owner`, home `path` and a group of the same name", []string{"target", "owner", "path"}, (*finisher).opUser},
	}
}

// CheckEffect tells what is wrong with an effect, for whoever reads records.
func CheckEffect(e spec.Effect) error {
	ops := Ops()
	i := slices.IndexFunc(ops, func(o Op) bool { return o.Name == e.Op })
	if i < 0 {
		names := make([]string, len(ops))
		for i, o := range ops {
			names[i] = o.Name
		}
		return fmt.Errorf("effect %q is not one of %s", e.Op, strings.Join(names, ", "))
	}
	set := map[string]bool{
		"mode": e.Mode != "", "path": e.Path != "", "target": e.Target != "", "content": e.Content != "",
		"owner": e.Owner != "",
	}
	for _, field := range ops[i].Fields {
		if !set[field] {
			return fmt.Errorf("effect %q needs %q", e.Op, field)
		}
	}
	if mode, err := modeOf(e, 0); err != nil || mode&0o6000 != 0 && e.Op != "directory" {
		return fmt.Errorf("effect %q has the mode %q", e.Op, e.Mode)
	}
	_, _, err := parseOwner(e.Owner)
	return err
}

// effects carries out the effects in their order, alternatives last.
func (f *finisher) effects() error {
	run := map[string]func(*finisher, spec.Effect) error{}
	for _, o := range Ops() {
		run[o.Name] = o.run
	}
	var alternatives []spec.Effect
	for _, e := range f.plan.Effects {
		if err := CheckEffect(e); err != nil {
			return err
		}
		if e.Op == "alternative" {
			alternatives = append(alternatives, e)
		} else if err := run[e.Op](f, e); err != nil {
			return fmt.Errorf("effect %q: %w", e.Op, err)
		}
	}
	if err := f.alternatives(alternatives); err != nil {
		return err
	}
	return f.localCertificates()
}

// alternatives links as update-alternatives does: the path to /etc/alternatives, that
// to the target of highest priority, of equals the first.
func (f *finisher) alternatives(list []spec.Effect) error {
	slices.SortStableFunc(list, func(a, b spec.Effect) int { return b.Priority - a.Priority })
	for _, e := range list {
		name := e.Content
		if name == "" {
			name = base(e.Path)
		}
		middle := "/etc/alternatives/" + name
		if err := f.offer(generated{entry: symlink(middle, e.Target, "effect:alternative")}); err != nil {
			return err
		}
		if err := f.offer(generated{entry: symlink(e.Path, middle, "effect:alternative")}); err != nil {
			return err
		}
	}
	return nil
}

func (f *finisher) opLink(e spec.Effect) error {
	return f.offer(generated{entry: symlink(e.Path, e.Target, "effect:symlink")})
}

func (f *finisher) opFile(e spec.Effect) error {
	return f.offerFile(e, []byte(e.Content))
}

func (f *finisher) opCopy(e spec.Effect) error {
	data, err := f.read(e.Target)
	if err != nil {
		return err
	}
	return f.offerFile(e, data)
}

// offerFile offers a file with the effect's attributes.
func (f *finisher) offerFile(e spec.Effect, content []byte) error {
	mode, err := modeOf(e, 0o644)
	if err != nil {
		return err
	}
	g := newFile(e.Path, mode, content, "effect:"+e.Op)
	if g.entry.UID, g.entry.GID, err = parseOwner(e.Owner); err != nil {
		return err
	}
	return f.offer(g)
}

func (f *finisher) opDir(e spec.Effect) error {
	mode, err := modeOf(e, 0o755)
	if err != nil {
		return err
	}
	uid, gid, err := parseOwner(e.Owner)
	if err != nil {
		return err
	}
	d := directory(e.Path, mode, uid, gid, "effect:directory")
	if err := f.settlePath(&d); err != nil {
		return err
	}
	have, ok, err := f.below.Lookup(d.Path)
	if err != nil {
		return err
	}
	if ok && have.Type != TypeDirectory {
		return nil
	}
	return f.tree.add(d)
}

func (f *finisher) opLine(e spec.Effect) error {
	path := merged(e.Path)
	var data []byte
	_, own := f.made[path]
	_, lower, err := f.below.Lookup(path)
	if err != nil {
		return err
	}
	if own || lower {
		if data, err = f.read(path); err != nil {
			return err
		}
	}
	line := strings.TrimSuffix(e.Content, "\n")
	if slices.Contains(strings.Split(string(data), "\n"), line) {
		return nil
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(slices.Clip(data), '\n')
	}
	g := newFile(path, 0o644, append(slices.Clip(data), line+"\n"...), "effect:line")
	if err := f.settlePath(&g.entry); err != nil {
		return err
	}
	if own && f.made[path].entry.Origin == "template" {
		return nil
	}
	delete(f.tree, path)
	return f.place(g)
}

// opAttributes copies a lower layer's file up to give it other attributes.
func (f *finisher) opAttributes(e spec.Effect) error {
	data, err := f.below.Read(merged(e.Path))
	if err != nil {
		return err
	}
	mode, err := modeOf(e, 0)
	if err != nil {
		return err
	}
	g := newFile(e.Path, mode, data, "effect:attributes")
	if g.entry.UID, g.entry.GID, err = parseOwner(e.Owner); err != nil {
		return err
	}
	if err := f.settlePath(&g.entry); err != nil {
		return err
	}
	if _, ok := f.tree[g.entry.Path]; ok {
		return nil // the template's
	}
	return f.place(g)
}

func (f *finisher) opUser(e spec.Effect) error {
	uid, gid, err := parseOwner(e.Owner)
	if err != nil {
		return err
	}
	f.users.addGroup(spec.Group{Name: e.Target, GID: gid})
	f.users.addUser(spec.User{Name: e.Target, UID: uid, GID: gid, Gecos: e.Content, Home: e.Path, Shell: "/usr/sbin/nologin"})
	return nil
}

func (f *finisher) opGroup(e spec.Effect) error {
	_, gid, err := parseOwner(e.Owner)
	f.users.addGroup(spec.Group{Name: e.Target, GID: gid})
	return err
}

func (f *finisher) opAccounts(spec.Effect) error {
	passwd, err := f.read("/usr/share/base-passwd/passwd.master")
	if err != nil {
		return err
	}
	group, err := f.read("/usr/share/base-passwd/group.master")
	if err != nil {
		return err
	}
	passwd = []byte(strings.ReplaceAll(string(passwd), ":*:", ":x:"))
	if err := f.users.addPasswd(passwd); err != nil {
		return err
	}
	return f.users.addGroupFile(group)
}

// modeOf gives an effect's mode, or the default.
func modeOf(e spec.Effect, otherwise Mode) (Mode, error) {
	if e.Mode == "" {
		return otherwise, nil
	}
	return parseMode(e.Mode)
}
