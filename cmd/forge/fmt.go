package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"forge/internal/diag"
	"forge/internal/hclconf"
	"forge/internal/template"
)

func newFmt(e *env) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "fmt [PATH...]",
		Short: "Format template files",
		Long: `Rewrites *.forge.hcl files in the one usual form: each PATH is a file or a directory
(default: the current one). The names of changed files are printed. With --check nothing
is written, and the exit code is 3 when a file would change.`,
		Example: "  forge fmt\n  forge fmt --check templates/debian",
		GroupID: "look",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			changed, err := e.formatAll(args, check)
			if err != nil {
				return err
			}
			if check && len(changed) > 0 {
				return &diag.Findings{Exit: diag.ExitFindings, List: changed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; exit 3 when a file is not formatted")
	return cmd
}

// formatAll formats files and gives a finding for each that was not in form.
func (e *env) formatAll(paths []string, check bool) (diag.List, error) {
	var changed, faults diag.List
	for _, path := range paths {
		names, err := templateFiles(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			was, list, err := formatFile(name, check)
			if err != nil {
				return nil, err
			}
			faults = append(faults, list...)
			if !was {
				continue
			}
			changed = append(changed, diag.Finding{Severity: diag.SeverityError, Summary: "file is not formatted",
				Detail: "Run `forge fmt`.", Range: diag.Range{File: name}})
			if !check {
				fmt.Fprintln(e.stdout, name)
			}
		}
	}
	if faults.HasErrors() {
		return nil, &diag.Findings{List: faults, Exit: diag.ExitUsage}
	}
	return changed, nil
}

func templateFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, diag.Errorf(diag.Usage, "Name a template file or a directory.", "formatting: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	return filepath.Glob(filepath.Join(path, template.Pattern))
}

// maxFormatted bounds a file to be formatted, in bytes.
const maxFormatted = 8 << 20

// formatFile tells whether a file is out of form, and unless check mends it.
func formatFile(name string, check bool) (bool, diag.List, error) {
	src, err := hclconf.ReadFile(os.DirFS(filepath.Dir(name)), filepath.Base(name), maxFormatted)
	if err != nil {
		return false, nil, diag.Errorf(diag.Disk, "", "formatting: %w", err)
	}
	out, list := template.Format(name, src)
	if list.HasErrors() || bytes.Equal(src, out) {
		return false, list, nil
	}
	if check {
		return true, list, nil
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.WriteFile(name, out, mode); err != nil {
		return false, nil, diag.Errorf(diag.Disk, "", "formatting: %w", err)
	}
	return true, list, nil
}
