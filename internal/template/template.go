// Package template evaluates a directory of HCL templates to a spec.
//
// It is a pure function of the directory's files and the given variables. All faults
// are reported at once, each with its place, its cause and what to write instead.
package template

import (
	"bytes"
	"io/fs"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2/hclwrite"

	"forge/internal/diag"
	"forge/internal/hclconf"
	"forge/internal/spec"
)

// Pattern matches the names of template files.
const Pattern = "*.forge.hcl"

// Options are the values given to a directory's variables.
type Options struct {
	Vars     map[string]string // from --var NAME=VALUE; they win over files
	VarFiles []hclconf.File    // from --var-file, read by the caller; later ones win
}

// loader evaluates one directory.
type loader struct {
	fsys     fs.FS
	conf     *hclconf.Conf
	report   *hclconf.Report
	archives map[string]*hclconf.Block
	families map[string]*family
	images   map[string]*image
	budget   int64 // bytes of sources that may still be read
}

// Load evaluates the templates in fsys's top directory. The files that templates name
// are read through fsys too, so fsys should be one that no symbolic link leads out of
// (os.Root). The set is nil where the list has errors.
func Load(fsys fs.FS, opts Options) (*spec.Set, diag.List) {
	conf := hclconf.Load(fsys, Pattern, hclconf.Inputs{Vars: opts.Vars, VarFiles: opts.VarFiles})
	l := &loader{
		fsys: fsys, conf: conf, report: conf.Report,
		archives: map[string]*hclconf.Block{}, families: map[string]*family{}, images: map[string]*image{},
		budget: maxSources,
	}
	groups := conf.Split(top)
	set := &spec.Set{Variables: conf.Variables}
	set.Archives = l.loadArchives(groups["archive"])
	set.Scripts = l.loadScripts(groups["script"])
	set.Images = l.loadImages(groups["template"])
	list := l.report.List()
	if list.HasErrors() {
		return nil, list
	}
	return set, list
}

// Format lays a template file out in the one canonical way. A file with syntax errors
// comes back unchanged, with the errors.
func Format(name string, src []byte) ([]byte, diag.List) {
	if list := hclconf.FormatErrors(hclconf.File{Name: name, Data: src}).List(); list.HasErrors() {
		return src, list
	}
	out := bytes.TrimLeft(hclwrite.Format(src), "\n")
	if n := len(out); n > 0 && out[n-1] != '\n' {
		out = append(out, '\n')
	}
	return out, nil
}

// Reference documents the template language as Markdown.
func Reference() string {
	return "# Template reference\n\n<!-- Generated from code: go run ./cmd/forge docs docs -->\n\n" +
		"A directory of `" + Pattern + "` files is evaluated together; the order of files and blocks does not matter.\n\n" +
		hclconf.Reference(append([]*hclconf.Schema{hclconf.VariableSchema, hclconf.LocalsSchema}, top...)) +
		hclconf.FunctionReference() + pruneReference() + effectReference()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
