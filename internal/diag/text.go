package diag

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

const (
	tabWidth   = 4
	widthLimit = 160 // of a quoted line; a longer one is cut around the fault
)

// WriteText writes findings for people, each with its quoted line. What comes from
// files is escaped, so that it cannot steer a terminal.
func WriteText(w io.Writer, l List, color bool) error {
	var b strings.Builder
	for i, f := range l {
		if i > 0 {
			b.WriteByte('\n')
		}
		writeFinding(&b, f, color)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes findings for programs.
func WriteJSON(w io.Writer, l List) error {
	if l == nil {
		l = List{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Version  int  `json:"version"`
		Findings List `json:"findings"`
	}{1, l})
}

func writeFinding(b *strings.Builder, f Finding, color bool) {
	paint := func(code, s string) string {
		if !color {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	hue := map[Severity]string{SeverityError: "1;31", SeverityWarning: "1;33"}[f.Severity]
	if hue == "" {
		hue = "1;36"
	}
	head := string(f.Severity)
	if f.ID != "" {
		head += "[" + f.ID + "]"
	}
	fmt.Fprintf(b, "%s: %s\n", paint(hue, head), paint("1", Escape(f.Summary)))
	number := strconv.Itoa(f.Range.Start.Line)
	margin := strings.Repeat(" ", len(number))
	if f.Range.File != "" {
		place := Escape(f.Range.File)
		if f.Range.Start.Line > 0 {
			place += fmt.Sprintf(":%d:%d", f.Range.Start.Line, f.Range.Start.Column)
		}
		fmt.Fprintf(b, "%s%s %s\n", margin, paint("34", "-->"), place)
	}
	if line, mark, ok := quote(f); ok {
		bar := paint("34", "|")
		fmt.Fprintf(b, "%s %s\n%s %s %s\n%s %s %s\n", margin, bar, paint("34", number), bar, line, margin, bar, paint(hue, mark))
	}
	for i, line := range strings.Split(strings.TrimRight(f.Detail, "\n"), "\n") {
		lead := "  "
		if i == 0 {
			lead = paint("34", "=") + " "
		}
		if line != "" {
			fmt.Fprintf(b, "%s %s%s\n", margin, lead, Escape(line))
		}
	}
}

// quote gives the source line as shown, and the line of marks under it.
func quote(f Finding) (line, mark string, ok bool) {
	if f.Source == "" || f.Range.Start.Column < 1 {
		return "", "", false
	}
	source := []rune(f.Source)
	start := f.Range.Start.Column - 1
	if start > len(source) {
		return "", "", false
	}
	end := f.Range.End.Column - 1
	if f.Range.End.Line > f.Range.Start.Line || end > len(source) {
		end = len(source)
	}
	end = max(end, start)
	first, last := 0, len(source)
	if last > widthLimit {
		first = max(0, start-widthLimit/4)
		last = min(last, first+widthLimit)
		end = min(end, last)
	}
	before, marked, after := show(source[first:start]), show(source[start:end]), show(source[end:last])
	if first > 0 {
		before = "..." + before
	}
	if last < len(source) {
		after += "..."
	}
	return strings.TrimRight(before+marked+after, " "),
		strings.Repeat(" ", columns(before)) + strings.Repeat("^", max(1, columns(strings.TrimRight(marked, " ")))), true
}

func show(source []rune) string {
	return Escape(strings.ReplaceAll(string(source), "\t", strings.Repeat(" ", tabWidth)))
}

// Escape writes control and invisible characters as Go does in quoted strings.
func Escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsGraphic(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}

// columns is the width of a text on a terminal.
func columns(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.Is(unicode.Mn, r):
		case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}
