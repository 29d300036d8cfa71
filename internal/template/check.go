package template

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"forge/internal/hclconf"
)

var (
	imageName   = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)                // OCI distribution-spec, one path component
	archiveName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)                      //
	tagName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)          // OCI tag, with room for "-<12 hex>"
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)                      // Debian policy 5.6.1
	debVersion  = regexp.MustCompile(`^([0-9]+:)?[0-9][A-Za-z0-9.+~:-]*$`)          // Debian policy 5.6.12
	suiteName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/+-]*$`)              //
	accountName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)                    // adduser's default
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)                    // POSIX
	hexDigest   = regexp.MustCompile(`^[0-9a-f]{64}$`)                              //
	fingerprint = regexp.MustCompile(`^([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})!?$`)       // OpenPGP v4, v6
	octalMode   = regexp.MustCompile(`^[0-7]{3,4}$`)                                //
	portNumber  = regexp.MustCompile(`^([0-9]{1,5})(/(tcp|udp|sctp))?$`)            //
	signalName  = regexp.MustCompile(`^(SIG[A-Z]+[0-9]*([+-][0-9]+)?|[0-9]{1,2})$`) //
	daySuffix   = regexp.MustCompile(`^([0-9]{1,5})d$`)                             //
)

func (l *loader) errorf(at hcl.Range, summary, detail string, args ...any) {
	l.report.Errorf(at, summary, detail, args...)
}

// imagePath checks an absolute path in the image.
func (l *loader) imagePath(p string, at hcl.Range) bool {
	switch {
	case !strings.HasPrefix(p, "/"):
		l.errorf(at, fmt.Sprintf("path %q is not absolute", p), "Paths in the image begin with a slash. Write %q.", path.Clean("/"+p))
	case !plain(p) || len(p) > 4095:
		l.errorf(at, fmt.Sprintf("path %q cannot be a path", p), "A path is UTF-8 of at most 4095 bytes without control characters.")
	case path.Clean(p) != p:
		l.errorf(at, fmt.Sprintf("path %q is not in its shortest form", p), "Write %q.", path.Clean(p))
	case p == "/":
		l.errorf(at, "path \"/\" is the root", "The root directory is forge's own. Name a path below it.")
	case longPart(p):
		l.errorf(at, "a part of the path is longer than 255 bytes", "File systems allow 255 bytes between slashes. Shorten it.")
	default:
		return true
	}
	return false
}

func longPart(p string) bool {
	for _, part := range strings.Split(p, "/") {
		if len(part) > 255 {
			return true
		}
	}
	return false
}

// mergedPath checks that a path does not lead through a usr-merge link.
func (l *loader) mergedPath(p string, at hcl.Range) bool {
	for _, dir := range []string{"/bin/", "/sbin/", "/lib/", "/lib64/"} {
		if strings.HasPrefix(p, dir) {
			l.errorf(at, fmt.Sprintf("path %q leads through a link", p), "%s is a symbolic link to /usr%s. Write %q.", strings.TrimSuffix(dir, "/"), strings.TrimSuffix(dir, "/"), "/usr"+p)
			return false
		}
	}
	return true
}

// plain tells whether a text is UTF-8 without control characters.
func plain(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// mode gives an attribute's permissions in four octal digits.
func (l *loader) mode(b *hclconf.Block, absent string) string {
	v, ok := b.Attrs["mode"]
	if !ok {
		return absent
	}
	if v.Type() != cty.String {
		l.errorf(v.Range, "mode is not an octal string", "A number would be read as decimal. Put it in quotes, such as mode = %q.", absent)
		return absent
	}
	s := v.AsString()
	if !octalMode.MatchString(s) {
		l.errorf(v.Range, fmt.Sprintf("mode %q is not octal", s), "It has three or four digits from 0 to 7, such as %q.", absent)
		return absent
	}
	return strings.Repeat("0", 4-len(s)) + s
}

// digest checks a SHA-256 in hex.
func (l *loader) digest(b *hclconf.Block) string {
	s, ok := b.Text("sha256")
	if !ok || hexDigest.MatchString(s) {
		return s
	}
	mend := "Write it as `sha256sum` prints it."
	if trimmed := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(s)), "sha256:"); hexDigest.MatchString(trimmed) {
		mend = fmt.Sprintf("Write %q.", trimmed)
	}
	l.errorf(b.At("sha256"), "sha256 is not a SHA-256 in hex", "It has 64 digits 0-9 and a-f. %s", mend)
	return ""
}

// webAddress checks an address to fetch from. Credentials have no place in a template.
func (l *loader) webAddress(address string, at hcl.Range) bool {
	host, ok := strings.CutPrefix(address, "https://")
	if !ok {
		host, ok = strings.CutPrefix(address, "http://")
	}
	host, _, _ = strings.Cut(host, "/")
	switch {
	case !ok || host == "" || !plain(address) || strings.ContainsAny(address, " \"<>"):
		l.errorf(at, "not an address to fetch from", "Write https://HOST/PATH or http://HOST/PATH.")
	case strings.Contains(host, "@"):
		l.report.Secretf(at, "an address with credentials in it", "Templates are public to everyone who reads the image's evidence. Put user and password into ~/.netrc.")
	default:
		return true
	}
	return false
}

// duration gives a Go duration; it also takes days.
func (l *loader) duration(s string, at hcl.Range) string {
	if m := daySuffix.FindStringSubmatch(s); m != nil {
		days, _ := strconv.Atoi(m[1])
		return (time.Duration(days) * 24 * time.Hour).String()
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		l.errorf(at, fmt.Sprintf("%q is not a duration", s), "Write a number and its unit, such as \"7d\", \"168h\" or \"90m\".")
		return ""
	}
	return d.String()
}

// moment checks a time in a layout of package time.
func (l *loader) moment(s, layout, shown string, at hcl.Range) {
	if _, err := time.Parse(layout, s); err != nil {
		l.errorf(at, fmt.Sprintf("%q is not a date", s), "Write it as %s, such as %q.", shown, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Format(layout))
	}
}

// matching gives a list's texts, reporting those that do not match and those twice.
func (l *loader) matching(b *hclconf.Block, name string, re *regexp.Regexp, what, mend string) []string {
	v, ok := b.Attrs[name]
	if !ok {
		return nil
	}
	var list []string
	first := map[string]bool{}
	for _, item := range v.Items() {
		s := item.Value.AsString()
		if !re.MatchString(s) {
			l.errorf(item.Range, fmt.Sprintf("%q is not %s", s, what), "%s", mend)
			continue
		}
		if first[s] {
			l.errorf(item.Range, fmt.Sprintf("%q is listed twice", s), "Delete one of them.")
			continue
		}
		first[s] = true
		list = append(list, s)
	}
	return list
}
