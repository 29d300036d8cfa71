// Package dependency reads and writes the relation fields of binary packages: Depends,
// Provides, Conflicts and their like (Debian Policy 7.1).
package dependency

import (
	"fmt"
	"slices"
	"strings"

	"forge/internal/debian/version"
)

// Bounds of one field; Debian's longest has under 2,000 groups.
const (
	maxGroups       = 16384
	maxAlternatives = 1024
)

// Alternative is one package name with what is asked of it.
type Alternative struct {
	Name      string
	Qualifier string // after the colon: "any", "native" or an architecture; "" for none
	Op        version.Op
	Version   string   // set exactly when Op is
	Archs     []string // architecture list, each may start with "!"; nil when absent
}

// Group is a list of alternatives, of which one is enough. A Group from Parse is not empty.
type Group []Alternative

// Parse reads a field: groups with commas between, alternatives with bars between. An
// empty field gives no groups. The old operators < and > read as <= and >=.
func Parse(field string) ([]Group, error) {
	if strings.Trim(field, blanks) == "" {
		return nil, nil
	}
	n := strings.Count(field, ",") + 1
	if n > maxGroups {
		return nil, fmt.Errorf("relation field of more than %d groups", maxGroups)
	}
	groups := make([]Group, 0, n)
	for text := range strings.SplitSeq(field, ",") {
		text = strings.Trim(text, blanks)
		if text == "" && len(groups) == n-1 && n > 1 {
			break // Debian's own tools leave a trailing comma now and then
		}
		g, err := parseGroup(text)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

const blanks = " \t\n"

func parseGroup(text string) (Group, error) {
	n := strings.Count(text, "|") + 1
	if n > maxAlternatives {
		return nil, fmt.Errorf("relation of more than %d alternatives", maxAlternatives)
	}
	g := make(Group, 0, n)
	for part := range strings.SplitSeq(text, "|") {
		part = strings.Trim(part, blanks)
		a, err := parseAlternative(part)
		if err != nil {
			return nil, fmt.Errorf("relation %q: %w", clip(part), err)
		}
		g = append(g, a)
	}
	return g, nil
}

func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}

func parseAlternative(s string) (Alternative, error) {
	var a Alternative
	end := strings.IndexAny(s, blanks+"([<")
	if end < 0 {
		end = len(s)
	}
	name, qualifier, qualified := strings.Cut(s[:end], ":")
	if !ValidName(name) {
		return a, fmt.Errorf("%q is not a package name", clip(name))
	}
	if qualified && !validWord(qualifier) {
		return a, fmt.Errorf("%q is not an architecture", clip(qualifier))
	}
	a.Name, a.Qualifier = name, qualifier
	rest := strings.TrimLeft(s[end:], blanks)
	var err error
	if strings.HasPrefix(rest, "(") {
		if rest, err = a.parseVersion(rest[1:]); err != nil {
			return a, err
		}
	}
	if strings.HasPrefix(rest, "[") {
		if rest, err = a.parseArchs(rest[1:]); err != nil {
			return a, err
		}
	}
	if rest != "" {
		return a, fmt.Errorf("%q does not belong here", clip(rest))
	}
	return a, nil
}

func (a *Alternative) parseVersion(s string) (rest string, err error) {
	inside, rest, ok := strings.Cut(s, ")")
	if !ok {
		return "", fmt.Errorf("no closing parenthesis")
	}
	inside = strings.Trim(inside, blanks)
	n := len(inside) - len(strings.TrimLeft(inside, "<>="))
	switch op := inside[:n]; op {
	case "<":
		a.Op = version.AtMost
	case ">":
		a.Op = version.AtLeast
	case "<<", "<=", "=", ">=", ">>":
		a.Op = version.Op(op)
	default:
		return "", fmt.Errorf("%q is not one of << <= = >= >>", clip(op))
	}
	a.Version = strings.Trim(inside[n:], blanks)
	if err := checkVersion(a.Version); err != nil {
		return "", err
	}
	return strings.TrimLeft(rest, blanks), nil
}

// checkVersion is laxer than version.Validate: relations may name versions that no
// package can have, and Debian has some.
func checkVersion(v string) error {
	if v == "" || len(v) > 512 {
		return fmt.Errorf("%q is not a version", clip(v))
	}
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("()[]<>|,", c) >= 0 {
			return fmt.Errorf("%q is not a version", v)
		}
	}
	return nil
}

func (a *Alternative) parseArchs(s string) (rest string, err error) {
	inside, rest, ok := strings.Cut(s, "]")
	if !ok {
		return "", fmt.Errorf("no closing bracket")
	}
	a.Archs = strings.FieldsFunc(inside, func(r rune) bool { return strings.ContainsRune(blanks, r) })
	if len(a.Archs) == 0 {
		return "", fmt.Errorf("an empty architecture list")
	}
	for _, arch := range a.Archs {
		if !validWord(strings.TrimPrefix(arch, "!")) {
			return "", fmt.Errorf("%q is not an architecture", clip(arch))
		}
	}
	return strings.TrimLeft(rest, blanks), nil
}

// ValidName tells whether dpkg would accept a package of that name: letters, digits
// and "-+._", a letter or digit first.
func ValidName(s string) bool {
	if s == "" || len(s) > 256 || !isAlnum(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte("-+._", s[i]) < 0 {
			return false
		}
	}
	return true
}

// validWord tells whether s is made like an architecture: letters, digits and dashes.
func validWord(s string) bool {
	return s != "" && len(s) <= 64 && isAlnum(s[0]) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r != '-' && (r > 0x7f || !isAlnum(byte(r))) })
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// OnArch tells whether the alternative counts on an architecture: its list is absent,
// names it, or consists of others negated.
func (a Alternative) OnArch(arch string) bool {
	if len(a.Archs) == 0 {
		return true
	}
	if strings.HasPrefix(a.Archs[0], "!") {
		return !slices.Contains(a.Archs, "!"+arch)
	}
	return slices.Contains(a.Archs, arch) || slices.Contains(a.Archs, "any")
}

// String writes the alternative in the usual form, "name:any (>= 1) [amd64]".
func (a Alternative) String() string {
	s := a.Name
	if a.Qualifier != "" {
		s += ":" + a.Qualifier
	}
	if a.Op != version.Any {
		s += " (" + string(a.Op) + " " + a.Version + ")"
	}
	if len(a.Archs) > 0 {
		s += " [" + strings.Join(a.Archs, " ") + "]"
	}
	return s
}

func (g Group) String() string {
	parts := make([]string, len(g))
	for i, a := range g {
		parts[i] = a.String()
	}
	return strings.Join(parts, " | ")
}

// Format writes groups as a field.
func Format(groups []Group) string {
	parts := make([]string, len(groups))
	for i, g := range groups {
		parts[i] = g.String()
	}
	return strings.Join(parts, ", ")
}
