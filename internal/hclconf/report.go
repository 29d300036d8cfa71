package hclconf

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"

	"forge/internal/diag"
)

const (
	maxFindings = 200
	maxQuoted   = 1 << 10 // bytes of a quoted line

	maxSuggested = 1000 // names compared with a wrong one
	maxListed    = 80   // names listed in a message
)

// Report collects findings about the files of one directory, each once.
type Report struct {
	sources map[string][]byte
	list    diag.List
	seen    map[diag.Finding]bool
	dropped int
	broken  bool // a file has syntax errors, so its content is unknown
}

func newReport() *Report {
	return &Report{sources: map[string][]byte{}, seen: map[diag.Finding]bool{}}
}

// Errorf adds an error at a place. The summary names the fault; the detail, formatted
// with args, says the cause and the mend.
func (r *Report) Errorf(at hcl.Range, summary, detail string, args ...any) {
	if r.full() { // before the line is looked for, which may be long
		r.dropped++
		return
	}
	r.add(at, r.line(at), summary, fmt.Sprintf(detail, args...))
}

// Secretf is Errorf for a line that holds a secret: it is not quoted.
func (r *Report) Secretf(at hcl.Range, summary, detail string, args ...any) {
	r.add(at, "", summary, fmt.Sprintf(detail, args...))
}

func (r *Report) add(at hcl.Range, source, summary, detail string) {
	f := diag.Finding{Severity: diag.SeverityError, Summary: summary, Detail: detail, Range: r.place(at), Source: source}
	if r.seen[f] {
		return
	}
	if len(r.list) == maxFindings {
		r.dropped++
		return
	}
	r.seen[f] = true
	r.list = append(r.list, f)
}

// full tells that nothing more would be reported, so that nothing more need be found.
func (r *Report) full() bool { return len(r.list) == maxFindings }

// Diagnostics adds what the HCL library reports.
func (r *Report) Diagnostics(ds hcl.Diagnostics) {
	for _, d := range ds {
		if d.Severity != hcl.DiagError {
			continue
		}
		var at hcl.Range
		if d.Subject != nil {
			at = *d.Subject
		}
		summary := strings.TrimSuffix(d.Summary, ".")
		if summary != "" {
			summary = strings.ToLower(summary[:1]) + summary[1:]
		}
		r.Errorf(at, summary, "%s", d.Detail)
	}
}

// List gives the findings in order of their places.
func (r *Report) List() diag.List {
	list := append(diag.List{}, r.list...)
	list.Sort()
	if r.dropped > 0 {
		list = append(list, diag.Finding{
			Severity: diag.SeverityError,
			Summary:  fmt.Sprintf("and %d more errors", r.dropped),
			Detail:   "Mend those above first; many faults often have one cause.",
		})
	}
	return list
}

// Place is a range as text, for naming another place in a message.
func Place(at hcl.Range) string { return fmt.Sprintf("%s:%d", at.Filename, at.Start.Line) }

// place counts columns in characters; the library counts grapheme clusters.
func (r *Report) place(at hcl.Range) diag.Range {
	src := r.sources[at.Filename]
	pos := func(p hcl.Pos) diag.Pos {
		if p.Byte <= len(src) && p.Line > 0 {
			begin := bytes.LastIndexByte(src[:p.Byte], '\n') + 1
			p.Column = utf8.RuneCount(src[begin:p.Byte]) + 1
		}
		return diag.Pos{Line: p.Line, Column: p.Column, Byte: p.Byte}
	}
	return diag.Range{File: at.Filename, Start: pos(at.Start), End: pos(at.End)}
}

// line is the source line on which a range starts.
func (r *Report) line(at hcl.Range) string {
	src := r.sources[at.Filename]
	if at.Start.Line == 0 || at.Start.Byte > len(src) {
		return ""
	}
	begin := bytes.LastIndexByte(src[:at.Start.Byte], '\n') + 1
	line := src[begin:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	if len(line) > maxQuoted {
		line = line[:maxQuoted]
	}
	return strings.ToValidUTF8(strings.TrimSuffix(string(line), "\r"), "\uFFFD")
}

// DidYouMean is " Did you mean ...?" with the known name nearest to a wrong one, or
// "" where none is near.
func DidYouMean(wrong string, known []string) string {
	if len(wrong) > 100 {
		return ""
	}
	known = known[:min(len(known), maxSuggested)]
	best, least := "", max(2, len(wrong)/3)+1
	for _, k := range known {
		if d := levenshtein.Distance(wrong, k, nil); d < least {
			best, least = k, d
		}
	}
	if best == "" || best == wrong {
		return ""
	}
	return fmt.Sprintf(" Did you mean %q?", best)
}

// Join writes names as people list them: `"a", "b" and "c"`, or with another word.
func Join(names []string, word string) string {
	more := len(names) - maxListed
	if more > 1 {
		names = append(slices.Clone(names[:maxListed]), fmt.Sprintf("%d more", more))
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if more > 1 {
		quoted[maxListed] = names[maxListed]
	}
	switch len(quoted) {
	case 0:
		return "none"
	case 1:
		return quoted[0]
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " " + word + " " + quoted[last]
}
