package pipeline

import (
	"os"
	"path/filepath"
	"strings"

	"forge/internal/diag"
	"forge/internal/hclconf"
	"forge/internal/spec"
	"forge/internal/template"
)

// maxVarFile bounds a file of variables, in bytes.
const maxVarFile = 1 << 20

// Load evaluates the templates of a directory. vars are "NAME=VALUE", varFiles names
// of files. Faults come back as one *diag.Findings; warnings come with the set.
func Load(dir string, vars, varFiles []string) (*spec.Set, diag.List, error) {
	root, err := os.OpenRoot(dir) // a link in the directory must not lead out of it
	if err != nil {
		return nil, nil, diag.Errorf(diag.Usage, "Name a directory with *.forge.hcl files.", "opening the templates' directory: %w", err)
	}
	defer root.Close()
	in := template.Options{Vars: map[string]string{}}
	for _, v := range vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, nil, diag.Errorf(diag.Usage, "Write --var NAME=VALUE.", "--var %q has no value", v)
		}
		in.Vars[name] = value
	}
	for _, name := range varFiles {
		data, err := hclconf.ReadFile(os.DirFS(filepath.Dir(name)), filepath.Base(name), maxVarFile)
		if err != nil {
			return nil, nil, diag.Errorf(diag.Usage, "Name a file of variables, in HCL or JSON.", "reading --var-file: %w", err)
		}
		in.VarFiles = append(in.VarFiles, hclconf.File{Name: name, Data: data})
	}
	set, list := template.Load(root.FS(), in)
	for i, f := range list {
		if ok, _ := filepath.Match(template.Pattern, f.Range.File); ok {
			list[i].Range.File = filepath.Join(dir, f.Range.File)
		}
	}
	if list.HasErrors() {
		return nil, nil, &diag.Findings{List: list, Exit: diag.ExitUsage}
	}
	return set, list, nil
}
