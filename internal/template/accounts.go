package template

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"forge/internal/hclconf"
	"forge/internal/spec"
)

// maxID is the largest id for templates to give: engines without root map 65,536 ids,
// and 65534 is nobody's.
const maxID = 65533

const maxAccounts = 1000 // blocks of one template

const noLogin = "/usr/sbin/nologin"

// defaultUsers and defaultGroups are in every image that extends no other.
func defaultUsers() []spec.User {
	return []spec.User{
		{Name: "root", UID: 0, GID: 0, Gecos: "root", Home: "/root", Shell: noLogin},
		{Name: "nobody", UID: 65534, GID: 65534, Gecos: "nobody", Home: "/nonexistent", Shell: noLogin},
	}
}

func defaultGroups() []spec.Group {
	return []spec.Group{{Name: "root", GID: 0}, {Name: "tty", GID: 5}, {Name: "staff", GID: 50}, {Name: "nogroup", GID: 65534}}
}

func (l *loader) accounts(m *image) {
	m.Users, m.Groups = defaultUsers(), defaultGroups()
	if m.parent != nil {
		m.Users, m.Groups = slices.Clone(m.parent.Users), slices.Clone(m.parent.Groups)
	}
	if n := len(m.block.Blocks["group"]) + len(m.block.Blocks["user"]); n > maxAccounts {
		l.errorf(m.block.Range, fmt.Sprintf("template %q has %d accounts", m.Name, n), "It may have %d. An image needs few.", maxAccounts)
		return
	}
	for _, b := range m.block.Blocks["group"] {
		if g, ok := l.group(m, b); ok {
			m.Groups = append(m.Groups, g)
			m.places.groups[g.Name] = b.Range
		}
	}
	for _, b := range m.block.Blocks["user"] {
		l.user(m, b)
	}
	for _, b := range m.block.Blocks["group"] {
		l.groupMembers(m, b)
	}
	slices.SortFunc(m.Users, func(a, b spec.User) int { return a.UID - b.UID })
	slices.SortFunc(m.Groups, func(a, b spec.Group) int { return a.GID - b.GID })
}

func (m *image) user(name string) *spec.User {
	i := slices.IndexFunc(m.Users, func(u spec.User) bool { return u.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Users[i]
}

func (m *image) userID(uid int) *spec.User {
	i := slices.IndexFunc(m.Users, func(u spec.User) bool { return u.UID == uid })
	if i < 0 {
		return nil
	}
	return &m.Users[i]
}

func (m *image) group(name string) *spec.Group {
	i := slices.IndexFunc(m.Groups, func(g spec.Group) bool { return g.Name == name })
	if i < 0 {
		return nil
	}
	return &m.Groups[i]
}

func (m *image) groupID(gid int) *spec.Group {
	i := slices.IndexFunc(m.Groups, func(g spec.Group) bool { return g.GID == gid })
	if i < 0 {
		return nil
	}
	return &m.Groups[i]
}

// origin says where an account comes from.
func origin(places map[string]hcl.Range, name string) string {
	if at, ok := places[name]; ok {
		return "is defined at " + hclconf.Place(at)
	}
	return "is in every image"
}

func (l *loader) group(m *image, b *hclconf.Block) (spec.Group, bool) {
	g := spec.Group{Name: b.Labels[0].Text}
	if !l.accountName(b, "group") {
		return g, false
	}
	if m.group(g.Name) != nil {
		l.errorf(b.Labels[0].Range, fmt.Sprintf("group %q is defined twice", g.Name), "A group of that name %s. Choose another name.", origin(m.places.groups, g.Name))
		return g, false
	}
	gid, ok := l.id(b, "gid")
	if !ok {
		return g, false
	}
	if other := m.groupID(gid); other != nil {
		l.errorf(b.At("gid"), fmt.Sprintf("gid %d is taken", gid), "Group %q has it, which %s. Choose another.", other.Name, origin(m.places.groups, other.Name))
		return g, false
	}
	g.GID = gid
	return g, true
}

// groupMembers fills a group's members, once all users are known.
func (l *loader) groupMembers(m *image, b *hclconf.Block) {
	g := m.group(b.Labels[0].Text)
	v, ok := b.Attrs["members"]
	if !ok || g == nil || m.places.groups[g.Name] != b.Range {
		return
	}
	for _, item := range v.Items() {
		name := item.Value.AsString()
		if m.user(name) == nil {
			l.noUser(m, name, item.Range)
			continue
		}
		g.Members = append(g.Members, name)
	}
	slices.Sort(g.Members)
	g.Members = slices.Compact(g.Members)
}

func (l *loader) noUser(m *image, name string, at hcl.Range) {
	var known []string
	for _, u := range m.Users {
		known = append(known, u.Name)
	}
	l.errorf(at, fmt.Sprintf("unknown user %q", name), "Users of the image are %s. Add a block: user %q { uid = ... }.%s", hclconf.Join(known, "and"), name, hclconf.DidYouMean(name, known))
}

func (l *loader) noGroup(m *image, name string, at hcl.Range) {
	var known []string
	for _, g := range m.Groups {
		known = append(known, g.Name)
	}
	l.errorf(at, fmt.Sprintf("unknown group %q", name), "Groups of the image are %s. Add a block: group %q { gid = ... }.%s", hclconf.Join(known, "and"), name, hclconf.DidYouMean(name, known))
}

func (l *loader) user(m *image, b *hclconf.Block) {
	u := spec.User{Name: b.Labels[0].Text, Home: "/nonexistent", Shell: noLogin}
	u.Gecos = u.Name
	if !l.accountName(b, "user") {
		return
	}
	if m.user(u.Name) != nil {
		l.errorf(b.Labels[0].Range, fmt.Sprintf("user %q is defined twice", u.Name), "A user of that name %s. Choose another name.", origin(m.places.users, u.Name))
		return
	}
	l.userTexts(&u, b)
	uid, ok := l.id(b, "uid")
	if !ok {
		return
	}
	if other := m.userID(uid); other != nil {
		l.errorf(b.At("uid"), fmt.Sprintf("uid %d is taken", uid), "User %q has it, who %s. Choose another.", other.Name, origin(m.places.users, other.Name))
		return
	}
	u.UID = uid
	if u.GID, ok = l.primaryGroup(m, b, u); !ok {
		return
	}
	m.Users = append(m.Users, u)
	m.places.users[u.Name] = b.Range
}

func (l *loader) userTexts(u *spec.User, b *hclconf.Block) {
	if home, ok := b.Text("home"); ok && l.passwdField(b, "home") && l.imagePath(home, b.At("home")) && l.mergedPath(home, b.At("home")) {
		u.Home = home
	}
	if shell, ok := b.Text("shell"); ok && l.passwdField(b, "shell") && l.imagePath(shell, b.At("shell")) {
		u.Shell = shell
	}
	if gecos, ok := b.Text("gecos"); ok && l.passwdField(b, "gecos") {
		u.Gecos = gecos
	}
}

// primaryGroup finds a user's group, or adds one of the user's name and id.
func (l *loader) primaryGroup(m *image, b *hclconf.Block, u spec.User) (int, bool) {
	if v, ok := b.Attrs["group"]; ok {
		gid, ok := l.groupOf(m, v)
		if ok && m.groupID(gid) == nil {
			l.errorf(v.Range, fmt.Sprintf("no group has gid %d", gid), "Add a block: group \"NAME\" { gid = %d }.", gid)
			return 0, false
		}
		return gid, ok
	}
	if own := m.group(u.Name); own != nil {
		return own.GID, true
	}
	if other := m.groupID(u.UID); other != nil {
		l.errorf(b.At("uid"), fmt.Sprintf("gid %d is taken", u.UID), "User %q gets a group of the same id, but group %q has it, which %s. Write group = %q, or choose another uid.", u.Name, other.Name, origin(m.places.groups, other.Name), other.Name)
		return 0, false
	}
	m.Groups = append(m.Groups, spec.Group{Name: u.Name, GID: u.UID})
	m.places.groups[u.Name] = b.Range
	return u.UID, true
}

func (l *loader) accountName(b *hclconf.Block, kind string) bool {
	name := b.Labels[0].Text
	if accountName.MatchString(name) {
		return true
	}
	l.errorf(b.Labels[0].Range, fmt.Sprintf("%q cannot be a %s's name", name, kind), "It begins with a lower-case letter or underscore and has lower-case letters, digits, dashes and underscores, at most 32.")
	return false
}

// passwdField checks a text that becomes a field of /etc/passwd.
func (l *loader) passwdField(b *hclconf.Block, name string) bool {
	s, _ := b.Text(name)
	if plain(s) && !strings.Contains(s, ":") {
		return true
	}
	l.errorf(b.At(name), fmt.Sprintf("%q cannot stand in /etc/passwd", name), "A colon or a control character would break the line. Leave it out.")
	return false
}

// id reads a required id of an account.
func (l *loader) id(b *hclconf.Block, name string) (int, bool) {
	v, ok := b.Attrs[name]
	if !ok {
		return 0, false
	}
	id, whole := hclconf.Int(v.Value)
	if whole && id >= 1 && id <= maxID {
		return id, true
	}
	why := "Engines without root have no larger ones."
	if whole && id == 0 {
		why = "0 is root's."
	}
	l.errorf(v.Range, fmt.Sprintf("%s is out of range", name), "It must be a whole number from 1 to %d. %s", maxID, why)
	return 0, false
}

// named gives an owner's or group's name or number. Digits in quotes are a number.
func named(v hclconf.Value) (name string, id int, isID, ok bool) {
	switch v.Type() {
	case cty.String:
		if n, err := strconv.Atoi(v.AsString()); err == nil {
			return "", n, true, n >= 0 && n <= maxID+1
		}
		return v.AsString(), 0, false, true
	case cty.Number:
		n, whole := hclconf.Int(v.Value)
		return "", n, true, whole && n >= 0 && n <= maxID+1
	}
	return "", 0, false, false
}

func (l *loader) groupOf(m *image, v hclconf.Value) (int, bool) {
	name, gid, isID, ok := named(v)
	switch {
	case !ok:
		l.errorf(v.Range, "not a group", "Write a group's name, or an id from 0 to %d.", maxID+1)
		return 0, false
	case isID:
		return gid, true
	}
	if g := m.group(name); g != nil {
		return g.GID, true
	}
	l.noGroup(m, name, v.Range)
	return 0, false
}

// owner gives uid and gid of an entry.
func (l *loader) owner(m *image, b *hclconf.Block) (uid, gid int) {
	if v, ok := b.Attrs["owner"]; ok {
		name, id, isID, ok := named(v)
		switch {
		case !ok:
			l.errorf(v.Range, "not an owner", "Write a user's name, or an id from 0 to %d.", maxID+1)
		case isID:
			uid, gid = id, id
			if u := m.userID(id); u != nil {
				gid = u.GID
			}
		case m.user(name) == nil:
			l.noUser(m, name, v.Range)
		default:
			uid, gid = m.user(name).UID, m.user(name).GID
		}
	}
	if v, ok := b.Attrs["group"]; ok {
		gid, _ = l.groupOf(m, v)
	}
	return uid, gid
}
