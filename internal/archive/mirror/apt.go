package mirror

import (
	"slices"
	"strings"
)

// maxSources bounds one file of apt's sources, in bytes.
const maxSources = 1 << 20

// parseList gives the addresses of a one-line-style file (sources.list(5)), of "deb"
// lines only.
func parseList(text string) []string {
	var uris []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, ok := cutSpace(strings.TrimSpace(line))
		if !ok || kind != "deb" {
			continue
		}
		if strings.HasPrefix(rest, "[") {
			if _, rest, ok = strings.Cut(rest, "]"); !ok {
				continue
			}
		}
		if words := strings.Fields(rest); len(words) >= 2 {
			uris = append(uris, words[0])
		}
	}
	return uris
}

func cutSpace(s string) (first, rest string, ok bool) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, "", false
	}
	return s[:i], strings.TrimSpace(s[i:]), true
}

// parseDeb822 gives the addresses of a deb822-style file (sources.list(5)), of enabled
// stanzas of type "deb" only.
func parseDeb822(text string) []string {
	var uris []string
	stanza := map[string][]string{}
	end := func() {
		enabled := strings.ToLower(strings.Join(stanza["enabled"], ""))
		if slices.Contains(stanza["types"], "deb") && !slices.Contains([]string{"no", "false", "0", "off", "without", "disable"}, enabled) {
			uris = append(uris, stanza["uris"]...)
		}
		clear(stanza)
	}
	field := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			end()
			field = ""
		case line[0] == ' ' || line[0] == '\t':
			stanza[field] = append(stanza[field], strings.Fields(line)...)
		default:
			name, value, _ := strings.Cut(line, ":")
			field = strings.ToLower(strings.TrimSpace(name))
			stanza[field] = strings.Fields(value)
		}
	}
	end()
	return uris
}
