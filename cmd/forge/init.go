package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"forge/internal/diag"
	"forge/templates"
)

// starter are the files that a new directory of templates begins with.
var starter = []string{"archives.forge.hcl", "static.forge.hcl", "debian-archive.asc"}

func newInit(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Start a directory of templates",
		Long: `Writes a first template (static: certificates, time zones, a non-root user), Debian's
archives and their keyring into DIR (default: the current directory). Nothing that exists
is overwritten.`,
		Example: "  forge init images\n  forge lock images\n  forge build images -o out",
		GroupID: "make",
		Args:    maxArgs(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := dirArg(args)
			if err := writeStarter(dir); err != nil {
				return err
			}
			for _, name := range starter {
				fmt.Fprintln(e.stdout, filepath.Join(dir, name))
			}
			e.note("Next: forge lock %s", dir)
			return nil
		},
	}
}

// writeStarter writes all files or, where one exists, none.
func writeStarter(dir string) error {
	for _, name := range starter {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return diag.Errorf(diag.OutputInvalid, "Choose another directory, or move the file away.", "%q exists already", filepath.Join(dir, name))
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return diag.Errorf(diag.Disk, "", "making the directory: %w", err)
	}
	for _, name := range starter {
		data, err := templates.Debian.ReadFile("debian/" + name)
		if err != nil {
			return fmt.Errorf("reading the built-in template: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return diag.Errorf(diag.Disk, "", "writing the first template: %w", err)
		}
	}
	return nil
}
