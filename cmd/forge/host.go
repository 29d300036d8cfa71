package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"

	"forge/internal/archive"
	"forge/internal/build/engine"
	"forge/internal/diag"
	"forge/internal/pipeline"
)

// engineFlags say where to build.
type engineFlags struct {
	address string
	tls     engine.DialOptions
}

func (f *engineFlags) flags(cmd *cobra.Command, e *env) {
	cmd.Flags().StringVar(&f.address, "engine", e.getenv("BUILDKIT_HOST"), "BuildKit `ADDRESS` (unix://, tcp://, docker-container://, kube-pod://, ssh://); empty: the embedded engine (BUILDKIT_HOST)")
	cmd.Flags().Lookup("engine").DefValue = "" // help shows no address: it may hold a password
	cmd.Flags().StringVar(&f.tls.CA, "engine-ca", "", "`FILE` of the engine's certificate authority")
	cmd.Flags().StringVar(&f.tls.Cert, "engine-cert", "", "`FILE` of the client certificate for the engine")
	cmd.Flags().StringVar(&f.tls.Key, "engine-key", "", "`FILE` of the client certificate's key")
	cmd.Flags().StringVar(&f.tls.ServerName, "engine-server-name", "", "`NAME` in the engine's certificate, when not the address's host")
}

// host gathers what the pipeline takes from this machine.
func (e *env) host(f engineFlags) (*pipeline.Host, error) {
	config, err := pipeline.LoadConfig(e.configFile())
	if err != nil {
		return nil, err
	}
	if err := prepareCache(e.cacheDir, os.Geteuid()); err != nil {
		return nil, err
	}
	return &pipeline.Host{
		Cache:   e.cacheDir,
		Exe:     e.exe,
		Version: buildVersion(),
		Engine:  f.address,
		TLS:     f.tls,
		UID:     os.Geteuid(),
		Environ: os.Environ(),
		Getenv:  e.getenv,
		Config:  config,
		Now:     e.now,
		Note:    e.note,
		Fetched: e.fetched(),
		Watch:   e.watch,
	}, nil
}

// prepareCache makes the cache directory. What is in it is believed, so one that others
// own or everybody may write is refused.
func prepareCache(dir string, uid int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return diag.Errorf(diag.Disk, "", "making the cache directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return diag.Errorf(diag.Disk, "", "examining the cache directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) != uid || info.Mode().Perm()&0o002 != 0 {
		return diag.Errorf(diag.Disk, "Choose a directory of your own with --cache-dir or FORGE_CACHE.",
			"the cache directory %s belongs to another user or is writable by everybody", dir)
	}
	return nil
}

// configFile is the user's configuration: FORGE_CONFIG, else forge/config.hcl in the
// user's configuration directory (XDG base directory specification).
func (e *env) configFile() string {
	if name := e.getenv("FORGE_CONFIG"); name != "" {
		return name
	}
	if dir := e.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "forge", "config.hcl")
	}
	if home := e.getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", "forge", "config.hcl")
	}
	return ""
}

// platform is the platform of images that run on this machine.
func (e *env) platform() string { return "linux/" + runtime.GOARCH }

// fetchedEvery is how often a line about fetching is written where there is no terminal.
const fetchedEvery = 2 * time.Second

// fetched shows the progress of fetching: one line that changes on a terminal, else a
// line now and then.
func (e *env) fetched() func(archive.Progress) {
	if e.quiet || e.progress == "quiet" {
		return nil
	}
	tty := e.terminal && e.progress != "plain"
	last := e.now()
	return func(p archive.Progress) {
		text := fmt.Sprintf("fetched %d of %d: %s", p.Done, p.Total, p.Name)
		if tty {
			fmt.Fprintf(e.stderr, "\r\033[K%.*s", 78, text)
			if p.Done == p.Total {
				fmt.Fprint(e.stderr, "\r\033[K")
			}
			return
		}
		if now := e.now(); now.Sub(last) >= fetchedEvery {
			last = now
			fmt.Fprintln(e.stderr, text)
		}
	}
}

// watch shows an engine's progress on stderr with BuildKit's own display, until the
// returned function is called.
func (e *env) watch(title string) (pipeline.Display, func()) {
	mode := progressui.DisplayMode(e.progress)
	file, isFile := e.stderr.(*os.File)
	if e.quiet || mode == progressui.QuietMode || !isFile {
		return func(*client.SolveStatus) {}, func() {}
	}
	if mode == progressui.AutoMode && !e.terminal {
		mode = progressui.PlainMode
	}
	display, err := progressui.NewDisplay(file, mode, progressui.WithPhase(title))
	if err != nil {
		return func(*client.SolveStatus) {}, func() {}
	}
	updates := make(chan *client.SolveStatus)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		display.UpdateFrom(context.Background(), updates)
	}()
	return func(s *client.SolveStatus) { updates <- s }, func() { close(updates); <-finished }
}
