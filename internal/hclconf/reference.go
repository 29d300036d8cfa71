package hclconf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reference documents blocks as Markdown, from the tables that decode them.
func Reference(schemas []*Schema) string {
	var w strings.Builder
	for _, s := range schemas {
		writeSchema(&w, s, "##", "")
	}
	return w.String()
}

// FunctionReference lists the functions of expressions as Markdown.
func FunctionReference() string {
	var w strings.Builder
	fmt.Fprintf(&w, "## Functions\n\nAll are pure: none reads a file, the clock, the environment or the network. They mean what they mean in Terraform and Packer.\n\n")
	names := slices.Sorted(maps.Keys(functions()))
	for i, n := range names {
		names[i] = "`" + n + "`"
	}
	fmt.Fprintf(&w, "%s\n", strings.Join(names, ", "))
	return w.String()
}

func writeSchema(w *strings.Builder, s *Schema, level, parent string) {
	title := "`" + s.Name
	for _, l := range s.Labels {
		title += fmt.Sprintf(" %q", upper(l))
	}
	title += "`"
	if parent != "" {
		title += " in `" + parent + "`"
	}
	fmt.Fprintf(w, "%s %s\n\n%s\n\n", level, title, s.Doc)
	if s.Once {
		fmt.Fprintf(w, "At most one.\n\n")
	}
	if s.Example != "" {
		fmt.Fprintf(w, "```hcl\n%s```\n\n", s.Example)
	}
	if len(s.Attrs) > 0 {
		fmt.Fprintf(w, "| attribute | value | meaning |\n|---|---|---|\n")
		for _, a := range s.Attrs {
			required := ""
			if a.Required {
				required = "Required. "
			}
			fmt.Fprintf(w, "| `%s` | %s | %s%s |\n", a.Name, a.typeName(), required, strings.ReplaceAll(a.Doc, "|", "\\|"))
		}
		fmt.Fprintln(w)
	}
	for _, b := range s.Blocks {
		writeSchema(w, b, level+"#", s.Name)
	}
}
