// Package licence turns a Debian copyright file into an SPDX licence expression.
//
// It never guesses: a name maps to an SPDX identifier only where Debian's copyright
// format 1.0 or long use gives it exactly that meaning. Everything else becomes a
// LicenseRef that carries the source package's name, because two packages may use one
// name for two texts.
package licence

import (
	"bytes"
	_ "embed"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"forge/internal/debian/control"
)

// spdxIDs lists the licence identifiers of the SPDX list that are not deprecated, as
// CycloneDX 1.6 accepts them, one a line.
//
//go:embed spdx.txt
var spdxIDs string

// maxNames bounds the licences of one package; the largest of Debian has below 200.
const maxNames = 512

// Expression gives the SPDX expression of a source package's copyright file. Files in
// the machine-readable format give all their licences joined by AND. Of other files
// only references to Debian's common licences are read, joined with a LicenseRef for
// the file as a whole. An empty file gives "".
func Expression(source string, copyright []byte) string {
	if len(bytes.TrimSpace(copyright)) == 0 {
		return ""
	}
	n := names{scope: idString(source), ids: index()}
	if shorts, ok := machineReadable(copyright); ok {
		for _, s := range shorts {
			n.add(n.alternatives(s))
		}
	} else {
		for _, s := range common(copyright) {
			n.add(s)
		}
		n.add(n.ref("copyright"))
	}
	return n.join()
}

// names collects the operands of one AND.
type names struct {
	scope string
	ids   map[string]string // lower case -> SPDX id
	all   map[string]bool
}

func (n *names) add(expr string) {
	if n.all == nil {
		n.all = map[string]bool{}
	}
	n.all[expr] = true
}

func (n *names) join() string {
	all := slices.Sorted(maps.Keys(n.all))
	if len(all) == 1 {
		return all[0]
	}
	for i, e := range all {
		if strings.Contains(e, " OR ") {
			all[i] = "(" + e + ")"
		}
	}
	return strings.Join(all, " AND ")
}

// machineReadable gives the short names of a copyright file in format 1.0: those of
// its header and its Files stanzas, since the others only hold texts.
func machineReadable(copyright []byte) ([]string, bool) {
	r := control.NewReader(bytes.NewReader(trimTexts(copyright)), "Format", "Files", "License")
	var shorts []string
	for first := true; ; first = false {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || first && s.Get("Format") == "" || len(shorts) == maxNames {
			return nil, false
		}
		if !first && s.Get("Files") == "" {
			continue
		}
		if short := strings.TrimSpace(s.Get("License")); short != "" {
			shorts = append(shorts, strings.ToValidUTF8(short, "-"))
		}
	}
	return shorts, len(shorts) > 0
}

// trimTexts drops continuation lines: licence texts in real files break the format's
// rules in ways that do not matter for the names.
func trimTexts(copyright []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(copyright) {
		if line[0] != ' ' && line[0] != '\t' || len(bytes.TrimSpace(line)) == 0 {
			b.Write(bytes.TrimRight(line, " \t\r\n"))
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

var (
	separators = regexp.MustCompile(`(?i),\s*(and|or)\s+`)
	orWord     = regexp.MustCompile(`(?i)\s+or\s+|\s*\|\s*`)
	andWord    = regexp.MustCompile(`(?i)\s+and\s+|\s*&\s*`)
)

// alternatives reads a License field's first line: names joined by "and" and "or",
// where "and" binds tighter. A comma changes that order, and is not taken apart.
func (n *names) alternatives(field string) string {
	if separators.MatchString(field) {
		return n.ref(field)
	}
	var ors []string
	for _, o := range orWord.Split(field, -1) {
		var ands []string
		for _, a := range andWord.Split(o, -1) {
			ands = append(ands, n.one(strings.TrimSpace(a)))
		}
		ors = append(ors, strings.Join(ands, " AND "))
	}
	return strings.Join(ors, " OR ")
}

// one gives the SPDX form of one short name, perhaps with an exception.
func (n *names) one(name string) string {
	lower := strings.ToLower(name)
	if base, exception, ok := strings.Cut(lower, " with "); ok {
		id, known := exceptions[family(base)+strings.TrimSuffix(exception, " exception")]
		if known && n.identifier(base) != "" {
			return n.identifier(base) + " WITH " + id
		}
		return n.ref(name)
	}
	if id := n.identifier(lower); id != "" {
		return id
	}
	return n.ref(name)
}

// identifier gives the SPDX id of a lower-case short name, or "".
func (n *names) identifier(lower string) string {
	if id, ok := aliases[lower]; ok {
		return id
	}
	if id, ok := n.ids[gnu(lower)]; ok {
		return id
	}
	return n.ids[lower]
}

var gnuName = regexp.MustCompile(`^(gpl|lgpl|agpl|gfdl|gfdl-niv)-?v?([1-9])(\.[0-9])?(\+|-only|-or-later)?$`)

// gnu writes GPL-2+ as gpl-2.0-or-later, and GFDL-NIV as the variant without invariant
// sections. A name without a version stays as it is: which is meant is not known.
func gnu(lower string) string {
	m := gnuName.FindStringSubmatch(lower)
	if m == nil {
		return lower
	}
	kind, minor, grant := m[1], m[3], m[4]
	if minor == "" {
		minor = ".0"
	}
	switch grant {
	case "+":
		grant = "-or-later"
	case "":
		grant = "-only"
	}
	if base, ok := strings.CutSuffix(kind, "-niv"); ok {
		return base + "-" + m[2] + minor + "-no-invariants" + grant
	}
	return kind + "-" + m[2] + minor + grant
}

// family tells GPL-2 from GPL-3 for exceptions that have a version of their own.
func family(base string) string {
	if strings.HasPrefix(base, "gpl-3") {
		return "3/"
	}
	return "/"
}

// exceptions maps the family and lower-case words of an exception to its SPDX id.
var exceptions = map[string]string{
	"/autoconf":           "Autoconf-exception-2.0",
	"3/autoconf":          "Autoconf-exception-3.0",
	"/bison":              "Bison-exception-2.2",
	"3/bison":             "Bison-exception-2.2",
	"/classpath":          "Classpath-exception-2.0",
	"/libtool":            "Libtool-exception",
	"/linux-syscall-note": "Linux-syscall-note",
	"/llvm":               "LLVM-exception",
}

// aliases maps lower-case Debian short names to SPDX where they differ in more than
// case.
var aliases = map[string]string{
	"apache-2":             "Apache-2.0",
	"artistic":             "Artistic-1.0-Perl", // the text in common-licenses
	"artistic-2":           "Artistic-2.0",
	"bsd-2":                "BSD-2-Clause",
	"bsd-3":                "BSD-3-Clause",
	"bsd-2-clause-freebsd": "BSD-2-Clause",
	"cc0":                  "CC0-1.0",
	"expat":                "MIT",
	"mit/expat":            "MIT",
	"openldap-2.8":         "OLDAP-2.8",
	"perl":                 "Artistic-1.0-Perl OR GPL-1.0-or-later",
	"psf-2":                "PSF-2.0",
	"w3c-software":         "W3C",
	"zlib/libpng":          "Zlib",
}

// ref makes a LicenseRef of a name that has no SPDX id.
func (n *names) ref(name string) string {
	return "LicenseRef-" + n.scope + "-" + idString(strings.ReplaceAll(name, "+", "-or-later"))
}

var notID = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// idString keeps what SPDX allows in an identifier, at most 100 bytes of it.
func idString(s string) string {
	s = strings.Trim(notID.ReplaceAllString(s, "-"), "-")
	if s == "" {
		return "unnamed"
	}
	return s[:min(len(s), 100)]
}

var commonName = regexp.MustCompile(`common-licenses/(Apache-2\.0|Artistic|MPL-1\.1|MPL-2\.0|CC0-1\.0|L?GPL-[1-3](?:\.[0-9])?|GFDL-1\.[1-3])`)

// common gives the common licences that a free-form copyright file refers to. The GNU
// ones count as "or later" only where the text says so.
func common(copyright []byte) []string {
	n := names{ids: index()}
	later := bytes.Contains(bytes.Join(bytes.Fields(copyright), []byte(" ")), []byte("any later version"))
	var out []string
	for _, m := range commonName.FindAllSubmatch(copyright, maxNames) {
		name := strings.ToLower(string(m[1]))
		if later && gnuName.MatchString(name) {
			name += "+"
		}
		if id := n.identifier(name); id != "" {
			out = append(out, id)
		}
	}
	return out
}

func index() map[string]string {
	ids := map[string]string{}
	for id := range strings.Lines(spdxIDs) {
		id = strings.TrimSpace(id)
		ids[strings.ToLower(id)] = id
	}
	return ids
}
