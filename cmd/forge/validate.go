package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"forge/internal/diag"
	"forge/internal/pipeline"
	"forge/internal/spec"
)

// variables are the flags with which a person sets template variables.
type variables struct {
	vars  []string
	files []string
}

func (v *variables) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&v.vars, "var", nil, "set a variable, `NAME=VALUE`; may be repeated")
	cmd.Flags().StringArrayVar(&v.files, "var-file", nil, "read variables from `FILE` (HCL or JSON); may be repeated")
}

// load evaluates the templates of a directory.
func (e *env) load(dir string, v variables) (*spec.Set, error) {
	e.templates = dir
	set, warnings, err := pipeline.Load(dir, v.vars, v.files)
	if err == nil && !e.quiet {
		diag.WriteText(e.stderr, warnings, e.color())
	}
	return set, err
}

func newValidate(e *env) *cobra.Command {
	var v variables
	var print string
	cmd := &cobra.Command{
		Use:   "validate [DIR]",
		Short: "Check the templates of a directory",
		Long: `Evaluates every *.forge.hcl file of DIR (default: the current directory) and reports
all faults at once, each with its place, cause and mend.`,
		Example: `  forge validate templates/debian
  forge validate --print=spec --var suite=trixie templates/debian`,
		GroupID: "look",
		Args:    maxArgs(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if print != "" && print != "spec" {
				return usageError{fmt.Errorf("--print %q: validate can print \"spec\"", print)}
			}
			set, err := e.load(dirArg(args), v)
			if err != nil {
				return err
			}
			if print == "spec" {
				data, err := spec.Marshal(set)
				if err != nil {
					return err
				}
				_, err = e.stdout.Write(data)
				return err
			}
			return e.showSet(set)
		},
	}
	v.flags(cmd)
	cmd.Flags().StringVar(&print, "print", "", "print the evaluated `VALUE`: spec")
	cmd.RegisterFlagCompletionFunc("print", cobra.FixedCompletions([]string{"spec"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (e *env) showSet(set *spec.Set) error {
	if e.format == "json" {
		var names []string
		for _, m := range set.Images {
			names = append(names, m.Name)
		}
		return json.NewEncoder(e.stdout).Encode(map[string]any{"version": 1, "templates": names})
	}
	for _, m := range set.Images {
		parent := ""
		if m.Parent != "" {
			parent = " extends " + m.Parent
		}
		fmt.Fprintf(e.stdout, "%s %s%s: %s asked for, %s\n", m.Name, m.Version, parent, count(len(m.Packages.Install), "package"), count(len(m.Platforms), "platform"))
	}
	return nil
}

// count is a number of things for people.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
