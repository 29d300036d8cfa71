package registry

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// width is the columns WriteText keeps to.
const width = 80

// WriteText shows an inspection to a person, in one screen for a golden image.
func WriteText(w io.Writer, in Inspection) error {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		writeLine(&b, label, fmt.Sprintf(format, args...))
	}
	b.WriteString(clip(scrub(in.Reference), width) + "\n" + in.Digest + "\n")
	writePlatforms(&b, in.Platforms)
	for i, p := range in.Platforms {
		if i > 0 && sameConfig(p, in.Platforms[0]) {
			continue
		}
		b.WriteString("\n")
		if i > 0 {
			line("platform", "%s", p.Platform)
		}
		line("created", "%s", p.Created)
		line("user", "%s", cmp.Or(p.User, "root (none set)"))
		line("entrypoint", "%s", quoted(p.Entrypoint))
		line("command", "%s", quoted(p.Cmd))
		line("workdir", "%s", p.Workdir)
		line("ports", "%s", strings.Join(p.Ports, " "))
		for j, e := range p.Env {
			line(first(j, "env"), "%s", e)
		}
		for j, k := range keys(p.Labels) {
			line(first(j, "labels"), "%s=%s", k, p.Labels[k])
		}
	}
	writeLayers(&b, in.Platforms[0])
	writePackages(&b, in.Platforms[0])
	writeEvidence(&b, in)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeLine(b *strings.Builder, label, value string) {
	if value != "" {
		fmt.Fprintf(b, "%-11s %s\n", label, clip(scrub(value), width-12))
	}
}

func writePlatforms(b *strings.Builder, platforms []Platform) {
	b.WriteString("\nplatform       digest             size   unpacked  layers  packages\n")
	for _, p := range platforms {
		packages := "unknown"
		if p.Packages != nil {
			packages = fmt.Sprint(len(p.Packages))
		}
		unpacked := "unknown"
		if p.Unknown == "" {
			unpacked = humanSize(p.Uncompressed)
		}
		fmt.Fprintf(b, "%-13s  %-12s %10s %10s  %6d  %8s\n", clip(scrub(p.Platform), 13), short(p.Digest), humanSize(p.Size), unpacked, len(p.Layers), packages)
	}
}

func writeLayers(b *strings.Builder, p Platform) {
	fmt.Fprintf(b, "\nlayers of %s, lowest first\n", scrub(p.Platform))
	for i, l := range p.Layers {
		if i == 12 {
			fmt.Fprintf(b, "  and %d more\n", len(p.Layers)-i)
			break
		}
		fmt.Fprintf(b, "  %-12s %9s  %s\n", short(l.Digest), humanSize(l.Size), clip(scrub(l.CreatedBy), width-26))
	}
}

func writePackages(b *strings.Builder, p Platform) {
	if p.Packages == nil {
		fmt.Fprintf(b, "\npackages unknown: %s\n", p.Unknown)
		return
	}
	if len(p.Packages) == 0 {
		b.WriteString("\nno Debian packages\n")
		return
	}
	fmt.Fprintf(b, "\npackages of %s\n", scrub(p.Platform))
	text, lines := " ", 0
	for i, q := range p.Packages {
		word := scrub(" " + q.Name + " " + q.Version)
		if len(text)+len(word)+1 > width {
			b.WriteString(clip(text, width) + "\n")
			text = " "
			if lines++; lines == 8 {
				fmt.Fprintf(b, "  and %d more\n", len(p.Packages)-i)
				return
			}
		}
		text += word
		if i+1 < len(p.Packages) {
			text += ","
		}
	}
	b.WriteString(clip(text, width) + "\n")
}

// evidenceLines tells the kinds of evidence, one line for each set of forms that some
// of them have.
func evidenceLines(list []Evidence) []string {
	forms := map[string][]string{} // kind -> forms
	for _, e := range list {
		if !slices.Contains(forms[e.Kind], e.Form) {
			forms[e.Kind] = append(forms[e.Kind], e.Form)
		}
	}
	kinds := map[string][]string{} // forms -> kinds
	for _, kind := range slices.Sorted(maps.Keys(forms)) {
		as := strings.Join(slices.Sorted(slices.Values(forms[kind])), " and ")
		kinds[as] = append(kinds[as], kind)
	}
	var lines []string
	for _, as := range slices.Sorted(maps.Keys(kinds)) {
		lines = append(lines, strings.Join(kinds[as], ", ")+" (as "+as+")")
	}
	return lines
}

func writeEvidence(b *strings.Builder, in Inspection) {
	if in.Evidence == nil {
		b.WriteString("\nevidence lives in a registry; a layout has none\n")
		return
	}
	b.WriteString("\nevidence present, not verified (forge verify checks it)\n")
	show := func(on string, list []Evidence) {
		if len(list) == 0 {
			fmt.Fprintf(b, "  %-13s none\n", on)
		}
		for i, line := range evidenceLines(list) {
			fmt.Fprintf(b, "  %-13s %s\n", first(i, on), line)
		}
	}
	show("image", in.Evidence)
	for _, p := range in.Platforms {
		if p.Digest != in.Digest {
			show(clip(scrub(p.Platform), 13), p.Evidence)
		}
	}
}

// sameConfig tells whether a platform needs no lines of its own.
func sameConfig(a, b Platform) bool {
	return a.User == b.User && a.Workdir == b.Workdir && slices.Equal(a.Entrypoint, b.Entrypoint) && slices.Equal(a.Cmd, b.Cmd) && slices.Equal(a.Env, b.Env)
}

func quoted(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return fmt.Sprintf("%q", args)
}

// first is a label for the first line of several, and blank for the rest.
func first(i int, label string) string {
	if i == 0 {
		return label
	}
	return ""
}

// short is a digest's first 12 hex digits, enough to find it in the JSON.
func short(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// humanSize writes a size for people: "18.2 MB", powers of 1000.
func humanSize(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), "kMGTPE"
	i := -1
	for f >= 999.95 {
		f /= 1000
		i++
	}
	return fmt.Sprintf("%.1f %cB", f, units[i])
}
