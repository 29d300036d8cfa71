package template

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"forge/internal/hclconf"
	"forge/internal/spec"
)

// defaultPath is Debian's for root, which has every directory of programs.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (l *loader) config(m *image) {
	m.Config = spec.Config{Env: map[string]string{"PATH": defaultPath}}
	if m.parent != nil {
		p := m.parent.Config
		m.Config = spec.Config{
			User: p.User, Workdir: p.Workdir, Env: maps.Clone(p.Env), Entrypoint: p.Entrypoint,
			Cmd: p.Cmd, Labels: maps.Clone(p.Labels), StopSignal: p.StopSignal,
		}
	}
	b := m.block.One("config")
	if b == nil {
		return
	}
	c := &m.Config
	if user, ok := b.Text("user"); ok {
		l.configUser(m, user, b.At("user"))
	}
	if dir, ok := b.Text("workdir"); ok && (dir == "/" || l.imagePath(dir, b.At("workdir"))) {
		c.Workdir = dir
	}
	l.env(c, b)
	l.labels(c, b)
	if v, ok := b.Attrs["entrypoint"]; ok {
		c.Entrypoint, c.Cmd = l.arguments(v), nil
	}
	if v, ok := b.Attrs["cmd"]; ok {
		c.Cmd = l.arguments(v)
	}
	l.ports(c, b)
	l.volumes(c, b)
	if s, ok := b.Text("stop_signal"); ok {
		if c.StopSignal = s; !signalName.MatchString(s) {
			l.errorf(b.At("stop_signal"), fmt.Sprintf("unknown signal %q", s), "Write its name, such as \"SIGTERM\", or its number.")
		}
	}
}

// configUser sets the user, in numbers.
func (l *loader) configUser(m *image, text string, at hcl.Range) {
	name, group, hasGroup := strings.Cut(text, ":")
	uid, ok := l.accountID(m, name, at)
	if !ok {
		return
	}
	user := strconv.Itoa(uid)
	if hasGroup {
		gid, err := strconv.Atoi(group)
		g := m.group(group)
		switch {
		case err == nil && m.groupID(gid) == nil:
			l.errorf(at, fmt.Sprintf("no group has gid %d", gid), "Add a block: group \"NAME\" { gid = %d }.", gid)
			return
		case err != nil && g == nil:
			l.noGroup(m, group, at)
			return
		case err != nil:
			gid = g.GID
		}
		user += ":" + strconv.Itoa(gid)
	}
	if p := m.parent; p != nil && uid == 0 && p.Config.User != "" && !isRoot(p.Config.User) {
		l.errorf(at, "the user is changed back to root", "Template %q fixed user %s at %s, and a child can only tighten that. Leave `user` out, or choose another user.", m.Parent, p.Config.User, hclconf.Place(m.places.user))
		return
	}
	m.Config.User = user
	m.places.user = at
}

func isRoot(user string) bool {
	uid, _, _ := strings.Cut(user, ":")
	return uid == "0"
}

func (l *loader) accountID(m *image, name string, at hcl.Range) (int, bool) {
	if uid, err := strconv.Atoi(name); err == nil {
		if m.userID(uid) == nil {
			l.errorf(at, fmt.Sprintf("no user has uid %d", uid), "An image's user needs an account. Add a block: user \"NAME\" { uid = %d }.", uid)
			return 0, false
		}
		return uid, true
	}
	if u := m.user(name); u != nil {
		return u.UID, true
	}
	l.noUser(m, name, at)
	return 0, false
}

func (l *loader) env(c *spec.Config, b *hclconf.Block) {
	v, ok := b.Attrs["env"]
	if !ok {
		return
	}
	for _, item := range v.Items() {
		value := item.Value.AsString()
		switch {
		case !envName.MatchString(item.Key):
			l.errorf(item.Range, fmt.Sprintf("%q cannot be an environment variable's name", item.Key), "It has letters, digits and underscores and does not begin with a digit.")
		case strings.Contains(value, "\x00"):
			l.errorf(item.Range, fmt.Sprintf("the value of %s has a NUL in it", item.Key), "An environment variable ends at its first NUL. Leave it out.")
		default:
			c.Env[item.Key] = value
		}
	}
}

func (l *loader) labels(c *spec.Config, b *hclconf.Block) {
	v, ok := b.Attrs["labels"]
	if !ok {
		return
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	for _, item := range v.Items() {
		if item.Key == "" || !plain(item.Key) {
			l.errorf(item.Range, fmt.Sprintf("%q cannot be a label's name", item.Key), "Write a name such as \"org.opencontainers.image.title\".")
			continue
		}
		c.Labels[item.Key] = item.Value.AsString()
	}
}

func (l *loader) arguments(v hclconf.Value) []string {
	var list []string
	for _, item := range v.Items() {
		s := item.Value.AsString()
		if strings.Contains(s, "\x00") {
			l.errorf(item.Range, "an argument has a NUL in it", "Arguments end at their first NUL. Leave it out.")
		}
		list = append(list, s)
	}
	return list
}

func (l *loader) ports(c *spec.Config, b *hclconf.Block) {
	v, ok := b.Attrs["ports"]
	if !ok {
		return
	}
	for _, item := range v.Items() {
		s := item.Value.AsString()
		parts := portNumber.FindStringSubmatch(s)
		if parts == nil {
			l.errorf(item.Range, fmt.Sprintf("%q is not a port", s), "Write its number and protocol, such as \"8080/tcp\". Protocols are tcp, udp and sctp.")
			continue
		}
		number, _ := strconv.Atoi(parts[1])
		if number < 1 || number > 65535 {
			l.errorf(item.Range, fmt.Sprintf("port %d is out of range", number), "Ports go from 1024 to 65535.")
			continue
		}
		if number < 1024 {
			l.errorf(item.Range, fmt.Sprintf("port %d is privileged", number), "Only root can listen below 1024. Listen on %d and let the platform map it.", number+8000)
			continue
		}
		protocol := parts[3]
		if protocol == "" {
			protocol = "tcp"
		}
		c.Ports = append(c.Ports, strconv.Itoa(number)+"/"+protocol)
	}
	slices.Sort(c.Ports)
	c.Ports = slices.Compact(c.Ports)
}

func (l *loader) volumes(c *spec.Config, b *hclconf.Block) {
	v, ok := b.Attrs["volumes"]
	if !ok {
		return
	}
	for _, item := range v.Items() {
		if p := item.Value.AsString(); l.imagePath(p, item.Range) {
			c.Volumes = append(c.Volumes, p)
		}
	}
	slices.Sort(c.Volumes)
	c.Volumes = slices.Compact(c.Volumes)
}
