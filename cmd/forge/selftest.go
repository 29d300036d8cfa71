package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	archiveattacks "forge/internal/archive/attacks"
	"forge/internal/diag"
	rootfsattacks "forge/internal/rootfs/attacks"
)

func newSelftest(e *env) *cobra.Command {
	var run bool
	cmd := &cobra.Command{
		Use:   "selftest --attacks",
		Short: "Attack forge with hostile archives and packages, and show what it does",
		Long: `Serves hostile archives and packages to forge itself, on loopback and in a directory of
its own, and checks for each that forge refuses it with the right error and leaves what is
on disk untouched. The cases follow apt's own test suite.`,
		Example: "  forge selftest --attacks",
		GroupID: "look",
		Args:    maxArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !run {
				return usageError{fmt.Errorf("say what to test: --attacks")}
			}
			dir, err := os.MkdirTemp("", "forge-selftest-")
			if err != nil {
				return diag.Errorf(diag.Disk, "", "making a directory for the test: %w", err)
			}
			defer os.RemoveAll(dir)
			results, err := runAttacks(cmd.Context(), dir)
			if err != nil {
				return err
			}
			return e.showAttacks(results)
		},
	}
	cmd.Flags().BoolVar(&run, "attacks", false, "run the attack cases")
	return cmd
}

// attack is one case of either table, as it is reported.
type attack struct {
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Source  string  `json:"source,omitempty"`
	Want    diag.ID `json:"want"`
	Got     diag.ID `json:"got"`
	Error   string  `json:"error,omitempty"`
	Changed string  `json:"changed,omitempty"` // what the attack altered on disk
	Passed  bool    `json:"passed"`
}

func runAttacks(ctx context.Context, dir string) ([]attack, error) {
	var all []attack
	onArchive, err := archiveattacks.Run(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, r := range onArchive {
		all = append(all, attack{r.ID, r.Title, r.Source, r.Want, r.Got, errorText(r.Err), r.Changed, r.Passed()})
	}
	onPackages, err := rootfsattacks.Run(dir)
	if err != nil {
		return nil, err
	}
	for _, r := range onPackages {
		all = append(all, attack{r.ID, r.Title, "", r.Want, r.Got, errorText(r.Err), r.Escaped, r.Passed()})
	}
	return all, nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (e *env) showAttacks(results []attack) error {
	var failed diag.List
	for _, r := range results {
		mark := "refused"
		switch {
		case !r.Passed:
			mark = "FAILED"
			failed = append(failed, diag.Finding{Severity: diag.SeverityError, Summary: r.ID + ": " + r.Title,
				Detail: fmt.Sprintf("Want %q, got %q %s. Changed on disk: %q.", r.Want, r.Got, r.Error, r.Changed)})
		case r.Want == "":
			mark = "survived"
		}
		if e.format == "text" {
			fmt.Fprintf(e.stdout, "%-4s %-8s %-6s %s\n", r.ID, mark, r.Got, r.Title)
		}
	}
	if e.format == "json" {
		if err := json.NewEncoder(e.stdout).Encode(map[string]any{"version": 1, "attacks": results}); err != nil {
			return err
		}
	}
	e.note("%d attacks, %d not handled as they should be", len(results), len(failed))
	if len(failed) > 0 {
		return &diag.Findings{List: failed, Exit: diag.ExitFindings}
	}
	return nil
}
