package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"forge/internal/diag"
)

// env is everything a command takes from the outside; tests pass their own.
type env struct {
	stdin          *os.File
	stdout, stderr io.Writer
	lookupenv      func(string) (string, bool)
	now            func() time.Time
	exe            string // forge's own file, run again as engine
	terminal       bool   // stderr is a terminal

	format   string // text or json
	quiet    bool
	progress string // auto, tty, plain, quiet
	cacheDir string

	templates string // the directory that the command works on, once it is known
}

const exitTable = `
Exit codes: 0 clean; 1 forge could not do it; 2 wrong usage or invalid input file;
3 findings (a stale lock and a failed verification are findings); 4 nothing found,
but something could not be checked; 130 interrupted.
`

// run carries out one command line and gives the process's exit code.
func run(ctx context.Context, e *env, args []string) int {
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	running := false
	markRunning(root, &running)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !running {
		err = usageError{err} // found by cobra: unknown command, unknown flag
	}
	if err != nil {
		e.nameDirectory(err)
		e.reportFindings(err)
		report(e.stderr, ctx, cmd.CommandPath(), err)
	}
	return exitCode(ctx, err)
}

// markRunning has every command of a tree say that it has begun, which it does only
// once its command line was understood.
func markRunning(cmd *cobra.Command, running *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*running = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		markRunning(sub, running)
	}
}

// nameDirectory completes the next step after a missing or stale lock, so that it can be
// pasted.
func (e *env) nameDirectory(err error) {
	var coded *diag.Error
	if !errors.As(err, &coded) || coded.Next != "" || e.templates == "" || e.templates == "." {
		return
	}
	if coded.ID == diag.LockMissing || coded.ID == diag.LockStale {
		coded.Next = strings.Replace(coded.NextStep(), "`forge lock`", "`forge lock "+e.templates+"`", 1)
	}
}

// reportFindings prints the findings that err carries: as JSON on stdout where JSON is
// asked for, else on stderr.
func (e *env) reportFindings(err error) {
	var findings *diag.Findings
	if !errors.As(err, &findings) {
		return
	}
	if e.format == "json" {
		diag.WriteJSON(e.stdout, findings.List)
		return
	}
	diag.WriteText(e.stderr, findings.List, e.color())
}

// getenv is the value of an environment variable, "" where it is not set.
func (e *env) getenv(name string) string {
	value, _ := e.lookupenv(name)
	return value
}

func (e *env) color() bool { return e.terminal && e.getenv("NO_COLOR") == "" }

// note tells a person something on stderr, unless --quiet.
func (e *env) note(format string, args ...any) {
	if !e.quiet {
		fmt.Fprintf(e.stderr, format+"\n", args...)
	}
}

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "forge",
		Short: "Golden container images that can be trusted, and kept so",
		Long: `forge makes golden container images from HCL templates: resolved and pinned from
signed package archives, built bit for bit reproducibly by BuildKit, with an SBOM,
provenance and signatures that cosign and others accept.

Start with:
  forge init images          a first template
  forge lock images          pin every package
  forge build images -o out  build the images
` + exitTable,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			return e.checkGlobals()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err}
	})
	root.SetUsageTemplate(root.UsageTemplate() + "{{if .HasParent}}" + exitTable + "{{end}}")
	flags := root.PersistentFlags()
	flags.StringVar(&e.format, "format", "text", "output `FORMAT`: text or json")
	flags.BoolVarP(&e.quiet, "quiet", "q", false, "print results and errors only")
	flags.StringVar(&e.progress, "progress", firstOf(e.getenv("FORGE_PROGRESS"), "auto"), "progress `MODE`: auto, tty, plain or quiet (FORGE_PROGRESS)")
	flags.StringVar(&e.cacheDir, "cache-dir", defaultCache(e.getenv), "`DIR` for downloads and the engine's state (FORGE_CACHE)")
	root.AddGroup(
		&cobra.Group{ID: "make", Title: "Make images:"},
		&cobra.Group{ID: "look", Title: "Look and check:"},
		&cobra.Group{ID: "more", Title: "More:"},
	)
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	root.AddCommand(
		newInit(e), newValidate(e), newFmt(e), newLock(e), newBuild(e), newPublish(e), newKeys(e),
		newVerify(e), newInspect(e), newSelftest(e),
		newEngine(e), newVersion(e), newDocs(e),
	)
	return root
}

func (e *env) checkGlobals() error {
	switch e.format {
	case "text", "json":
	default:
		return usageError{fmt.Errorf("--format %q is not text or json", e.format)}
	}
	switch e.progress {
	case "auto", "tty", "plain", "quiet":
	default:
		return usageError{fmt.Errorf("--progress %q is not auto, tty, plain or quiet", e.progress)}
	}
	if e.cacheDir == "" {
		return usageError{errors.New("no cache directory: set HOME, FORGE_CACHE or --cache-dir")}
	}
	abs, err := filepath.Abs(e.cacheDir)
	if err != nil {
		return fmt.Errorf("finding the cache directory: %w", err)
	}
	e.cacheDir = abs
	return nil
}

// defaultCache is where downloads and engine state live: FORGE_CACHE, else the user's
// cache directory (XDG base directory specification).
func defaultCache(getenv func(string) string) string {
	if dir := getenv("FORGE_CACHE"); dir != "" {
		return dir
	}
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "forge")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "forge")
	}
	return ""
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// needFlags refuses a command line that lacks one of the flags.
func needFlags(cmd *cobra.Command, names ...string) error {
	for _, n := range names {
		if !cmd.Flags().Changed(n) {
			return usageError{fmt.Errorf("%s needs --%s", cmd.CommandPath(), strings.Join(names, " and --"))}
		}
	}
	return nil
}

// atMostOne refuses a command line that has more than one of the flags.
func atMostOne(cmd *cobra.Command, names ...string) error {
	var set []string
	for _, n := range names {
		if cmd.Flags().Changed(n) {
			set = append(set, n)
		}
	}
	if len(set) > 1 {
		return usageError{fmt.Errorf("--%s cannot be used together", strings.Join(set, " and --"))}
	}
	return nil
}

// maxArgs is cobra.MaximumNArgs with an error that says what the command takes.
func maxArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError{fmt.Errorf("%s takes %s, got %d arguments: %s", cmd.CommandPath(), what, len(args), strings.Join(args, " "))}
		}
		return nil
	}
}

// exactArgs is cobra.ExactArgs with an error that says what the command takes.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s takes %s, got %d arguments", cmd.CommandPath(), what, len(args))}
		}
		return nil
	}
}

// dirArg is the templates' directory of a command line: the first argument, else ".".
func dirArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return "."
}
