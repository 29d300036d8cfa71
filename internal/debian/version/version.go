// Package version compares Debian package versions as dpkg does (deb-version(7)).
package version

import (
	"cmp"
	"fmt"
	"strings"
)

// maxLength bounds a version's bytes; Debian's longest is under 80.
const maxLength = 512

// Validate tells why v is not a version that dpkg would accept in a package: an epoch
// of digits below 2^31, an upstream version that starts with a digit, and the
// characters that deb-version(7) lists.
func Validate(v string) error {
	if len(v) > maxLength {
		return fmt.Errorf("version of %d bytes is longer than %d", len(v), maxLength)
	}
	rest := v
	if epoch, after, ok := strings.Cut(v, ":"); ok {
		if epoch == "" || len(strings.TrimLeft(epoch, "0")) > 10 || strings.Trim(epoch, "0123456789") != "" || compareDigits(epoch, "2147483647") > 0 {
			return fmt.Errorf("version %q: the epoch is not a number below 2147483648", v)
		}
		rest = after
	}
	upstream, revision, hasRevision := cutLast(rest)
	if upstream == "" || !isDigit(upstream[0]) {
		return fmt.Errorf("version %q: the upstream version does not start with a digit", v)
	}
	if hasRevision && revision == "" {
		return fmt.Errorf("version %q: the revision is empty", v)
	}
	for i := range len(rest) {
		if c := rest[i]; !isDigit(c) && !isLetter(c) && !strings.ContainsRune(".+-~:", rune(c)) {
			return fmt.Errorf("version %q: character %q is not allowed", v, c)
		}
	}
	return nil
}

// Compare orders two versions: negative when a is older than b, zero when dpkg holds
// them for equal. It is a total order for all strings, valid versions or not.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	epochA, restA := cutEpoch(a)
	epochB, restB := cutEpoch(b)
	if c := compareDigits(epochA, epochB); c != 0 {
		return c
	}
	upstreamA, revisionA, _ := cutLast(restA)
	upstreamB, revisionB, _ := cutLast(restB)
	return cmp.Or(comparePart(upstreamA, upstreamB), comparePart(revisionA, revisionB))
}

// Op is how a relation compares versions.
type Op string

// The operators of a relation field. Earlier and Later are strict.
const (
	Any     Op = ""
	Earlier Op = "<<"
	AtMost  Op = "<="
	Exactly Op = "="
	AtLeast Op = ">="
	Later   Op = ">>"
)

// Holds tells whether "have op want" is true; Any holds always.
func (op Op) Holds(have, want string) bool {
	c := 0
	if op != Any {
		c = Compare(have, want)
	}
	switch op {
	case Earlier:
		return c < 0
	case AtMost:
		return c <= 0
	case Exactly:
		return c == 0
	case AtLeast:
		return c >= 0
	case Later:
		return c > 0
	}
	return true
}

func cutEpoch(v string) (epoch, rest string) {
	if i := strings.IndexByte(v, ':'); i >= 0 && strings.Trim(v[:i], "0123456789") == "" {
		return v[:i], v[i+1:]
	}
	return "", v
}

func cutLast(v string) (upstream, revision string, has bool) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i], v[i+1:], true
	}
	return v, "", false
}

// comparePart takes runs of non-digits and digits in turn, as dpkg's verrevcmp.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := cmp.Compare(weight(a), weight(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:] // equal weights other than a digit's: both have a character
		}
		var digitsA, digitsB string
		digitsA, a = cutDigits(a)
		digitsB, b = cutDigits(b)
		if c := compareDigits(digitsA, digitsB); c != 0 {
			return c
		}
	}
	return 0
}

// weight orders the first character: tilde, then the end or a digit, letters, the rest.
func weight(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

func cutDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// compareDigits compares two runs of digits by value, however long they are.
func compareDigits(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
