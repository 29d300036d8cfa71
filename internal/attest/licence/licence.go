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
	"regexp"
	"slices"
	"strings"
)

// spdxIDs lists the licence identifiers of the SPDX list that are not deprecated, as
// CycloneDX 1.6 accepts them, one a line.
//
//go:embed spdx.txt
var spdxIDs string

// maxNames bounds the different licences of one package; Debian's have below 200.
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
	var all []string
	shorts, ok := machineReadable(copyright)
	for _, s := range shorts {
		all = append(all, n.conjuncts(s)...)
	}
	if !ok {
		all = append(n.common(copyright), n.ref("copyright"))
	}
	return join(all, "AND")
}

// names turns names into SPDX for one source package.
type names struct {
	scope string
	ids   map[string]string // lower case -> SPDX id
}

// machineReadable gives the short names of a copyright file in format 1.0: those of
// its header and its Files stanzas, since the others only hold texts. It reads field
// names only and is forgiving, because many real files break the format around them.
func machineReadable(copyright []byte) ([]string, bool) {
	var shorts []string
	var st stanza
	for line := range bytes.Lines(append(bytes.Clone(copyright), '\n', '\n')) {
		text := strings.TrimRight(strings.ToValidUTF8(string(line), "-"), " \t\r\n")
		if text != "" {
			st.read(text)
			continue
		}
		if st.format {
			st.header = true
		}
		if !st.header || len(shorts) == maxNames {
			return nil, false
		}
		if st.license && (st.format || st.files) && !slices.Contains(shorts, st.short) {
			shorts = append(shorts, st.short)
		}
		st = stanza{header: true}
	}
	return shorts, len(shorts) > 0
}

// stanza is what matters of one paragraph of a copyright file.
type stanza struct {
	header                 bool // the file's header has been seen
	format, files, license bool // fields of this stanza
	short                  string
}

func (s *stanza) read(line string) {
	name, value, ok := strings.Cut(line, ":")
	if !ok || line[0] == ' ' || line[0] == '\t' {
		return
	}
	switch strings.ToLower(name) {
	case "format":
		s.format = true
	case "files":
		s.files = true
	case "license":
		s.license, s.short = true, strings.TrimSpace(value)
	}
}

var (
	commas  = regexp.MustCompile(`(?i)\s*,\s*(and|or)\s+`)
	orWord  = regexp.MustCompile(`(?i)\s+or\s+|\s*\|\s*`)
	andWord = regexp.MustCompile(`(?i)\s+and\s+|\s*&\s*`)
)

// conjuncts reads a License field's first line: names joined by "and" and "or", where
// "and" binds tighter, and a comma before the word makes it bind loosest. It gives the
// operands of the outermost AND.
func (n *names) conjuncts(field string) []string {
	words := commas.FindAllStringSubmatch(field, -1)
	if len(words) == 0 {
		return n.alternatives(field)
	}
	operator := strings.ToUpper(words[0][1])
	var all, either []string
	for i, part := range commas.Split(field, -1) {
		if i > 0 && strings.ToUpper(words[i-1][1]) != operator {
			return []string{n.ref(field)} // which binds tighter is not said
		}
		all = append(all, n.alternatives(part)...)
		either = append(either, join(n.alternatives(part), "AND"))
	}
	if operator == "OR" {
		return []string{join(either, "OR")}
	}
	return all
}

// alternatives reads names without commas, and gives the operands of the AND.
func (n *names) alternatives(field string) []string {
	var ors, ands []string
	for _, o := range orWord.Split(field, -1) {
		ands = nil
		for _, a := range andWord.Split(o, -1) {
			ands = append(ands, n.one(strings.TrimSpace(a)))
		}
		ors = append(ors, join(slices.Clone(ands), "AND"))
	}
	if len(ors) == 1 {
		return ands
	}
	return []string{join(ors, "OR")}
}

// join puts operands in order, so that two spellings of one choice are one.
func join(parts []string, operator string) string {
	slices.Sort(parts)
	parts = slices.Compact(parts)
	if len(parts) == 1 {
		return parts[0]
	}
	for i, p := range parts {
		if operator == "AND" && strings.Contains(p, " OR ") {
			parts[i] = "(" + p + ")"
		}
	}
	return strings.Join(parts, " "+operator+" ")
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
func (n *names) common(copyright []byte) []string {
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
