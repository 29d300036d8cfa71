package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"forge/internal/archive/solve"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/pipeline"
	"forge/internal/spec"
)

type lockFlags struct {
	variables
	engineFlags
	check  bool
	record bool
	accept bool
	update string
	why    string
}

func newLock(e *env) *cobra.Command {
	var f lockFlags
	cmd := &cobra.Command{
		Use:   "lock [DIR]",
		Short: "Resolve packages and pin them by digest",
		Long: `Resolves the packages of every template in DIR from their archives, whose signatures
are checked, and writes forge.lock.json. A lock that already fits the templates is left
alone; --update moves it to what the archives have now and shows what changes.`,
		Example: `  forge lock templates/debian
  forge lock --update templates/debian
  forge lock --update=openssl templates/debian
  forge lock --check templates/debian    # for CI: exit 3 when out of date
  forge lock --record templates/debian   # build, and write down the digests
  forge lock --why zlib1g templates/debian`,
		GroupID: "make",
		Args:    maxArgs(1, "one directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := atMostOne(cmd, "check", "record", "update", "why"); err != nil {
				return err
			}
			return e.lock(cmd.Context(), dirArg(args), f, cmd.Flags().Changed("update"))
		},
	}
	f.variables.flags(cmd)
	f.engineFlags.flags(cmd, e)
	cmd.Flags().BoolVar(&f.check, "check", false, "change nothing; exit 3 when templates or archives have moved on")
	cmd.Flags().BoolVar(&f.record, "record", false, "build, and write the digests into the lock as expected")
	cmd.Flags().BoolVar(&f.accept, "accept-identity", false, "accept that an archive changed its suite, codename, origin or label")
	cmd.Flags().StringVar(&f.update, "update", "", "move to what the archives have now: all, or the named source or binary `PACKAGES`")
	cmd.Flags().Lookup("update").NoOptDefVal = "all"
	cmd.Flags().StringVar(&f.why, "why", "", "explain why `PACKAGE` is locked")
	return cmd
}

func (e *env) lock(ctx context.Context, dir string, f lockFlags, update bool) error {
	set, err := e.load(dir, f.variables)
	if err != nil {
		return err
	}
	old, missing := lock.ReadDir(dir)
	if id := diag.IDOf(missing); missing != nil && id != diag.LockMissing && (id != diag.LockVersion || f.check) {
		return missing
	}
	host, err := e.host(f.engineFlags)
	if err != nil {
		return err
	}
	switch {
	case f.why != "" && old == nil:
		return missing
	case f.why != "":
		return e.why(old, f.why)
	case f.check:
		if old == nil {
			return missing
		}
		return e.lockCheck(ctx, host, set, old)
	case f.record:
		return e.lockRecord(ctx, host, dir, set)
	}
	if old != nil && !update && old.Fresh(set) == nil {
		e.note("The lock fits the templates. To move to newer packages: forge lock --update %s", dir)
		return e.showChanges(nil)
	}
	if err := checkLocked(old, only(f.update)); err != nil {
		return err
	}
	got, err := host.Resolve(ctx, set, old, pipeline.ResolveOptions{AcceptIdentity: f.accept, Only: only(f.update)})
	if err != nil {
		return err
	}
	if err := lock.WriteDir(dir, got.New); err != nil {
		return err
	}
	if err := e.showChanges(got.Changes); err != nil {
		return err
	}
	if old != nil && len(got.Changes) == 0 {
		e.note("No package has changed.")
		return nil
	}
	e.note("Next: review the change, then forge build %s", dir)
	return nil
}

// only names the packages of --update=a,b; nil means all.
func only(update string) []string {
	if update == "" || update == "all" {
		return nil
	}
	return strings.Split(update, ",")
}

// checkLocked refuses names that are no locked source or binary packages.
func checkLocked(f *lock.File, names []string) error {
	known := map[string]bool{}
	if f != nil {
		for _, m := range f.Images {
			for _, p := range m.Packages {
				known[p.Name], known[p.Source] = true, true
			}
		}
	}
	for _, n := range names {
		if !known[n] {
			return usageError{fmt.Errorf("--update=%s: no template has the package locked", n)}
		}
	}
	return nil
}

// lockCheck compares the lock with the templates and with the archives as they are.
func (e *env) lockCheck(ctx context.Context, host *pipeline.Host, set *spec.Set, old *lock.File) error {
	if err := old.Fresh(set); err != nil {
		return err
	}
	got, err := host.Resolve(ctx, set, old, pipeline.ResolveOptions{})
	if err != nil {
		return err
	}
	if err := e.showChanges(got.Changes); err != nil {
		return err
	}
	if len(got.Changes) > 0 {
		return diag.Errorf(diag.LockStale, "Run `forge lock --update` and review the change.", "the archives have moved on since the lock was made")
	}
	e.note("The lock is up to date with templates and archives.")
	return nil
}

func (e *env) lockRecord(ctx context.Context, host *pipeline.Host, dir string, set *spec.Set) error {
	f, err := lock.ReadDir(dir)
	if err != nil {
		return err
	}
	results, err := host.Record(ctx, set, f)
	if err != nil {
		return err
	}
	if err := lock.WriteDir(dir, f); err != nil {
		return err
	}
	return e.showBuilt(results, nil)
}

func (e *env) showChanges(changes []lock.Change) error {
	if e.format == "json" {
		if changes == nil {
			changes = []lock.Change{}
		}
		return json.NewEncoder(e.stdout).Encode(map[string]any{"version": 1, "changes": changes})
	}
	lock.WriteChanges(e.stdout, changes)
	return nil
}

// why prints the chain from a requested package to the named one, for each image that
// has it.
func (e *env) why(f *lock.File, name string) error {
	found := false
	for _, m := range f.Images {
		reasons := map[string]string{}
		for _, p := range m.Packages {
			reasons[p.Name] = p.Reason
		}
		chain := solve.Why(reasons, name)
		if chain == nil {
			continue
		}
		found = true
		fmt.Fprintf(e.stdout, "%s %s\n", m.Name, m.Platform)
		for i, line := range chain {
			fmt.Fprintf(e.stdout, "  %s%s\n", strings.Repeat("  ", i), line)
		}
	}
	if !found {
		return usageError{errors.New("no template has the package " + name + " locked")}
	}
	return nil
}
