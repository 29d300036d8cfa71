// Package engine is the BuildKit that lives inside forge: BuildKit's own daemon code
// (control, worker, solver), started as a child process on first use and shared by
// every forge of one user.
//
// The child listens on a private unix socket in its state directory, which is a cache
// and nothing else: it holds no user data and may be deleted whenever no engine runs.
// It leaves by itself when no client has been connected for a while. As root it runs
// with a mount namespace of its own; for anyone else in a user namespace with
// subordinate ids. It runs only forge's own layout program, in a box without network
// (see box.go); builds that run foreign commands need another engine.
package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"forge/internal/diag"

	"github.com/moby/buildkit/client"
)

// Options says where the engine lives and how it is started. StateDir and Exe are
// needed; everything else may be zero.
type Options struct {
	StateDir string        // absolute; created with mode 0700, refused if it is another user's
	Exe      string        // program started as the engine: forge itself
	Args     []string      // how Exe reaches Serve; "engine", "serve" when nil. One argument, its configuration, is appended
	Env      []string      // the engine's environment, for proxies in HTTP sources and PATH
	UID      int           // effective user id of this process
	Version  string        // of forge; an engine of another version is stopped and replaced
	IdleExit time.Duration // 5 minutes when zero
	MaxDisk  int64         // bytes the cache may take; 10 GB when zero
}

// Endpoint is a running engine.
type Endpoint struct {
	Address string // for Dial
	Blobs   string // directory of the engine's content: each blob's file is named by its SHA-256
	PID     int
	Started bool // this call started it
}

const (
	defaultIdleExit = 5 * time.Minute
	defaultMaxDisk  = 10_000_000_000
	startTimeout    = 30 * time.Second
	pollInterval    = 5 * time.Millisecond
)

func (o Options) withDefaults() Options {
	if o.Args == nil {
		o.Args = []string{"engine", "serve"}
	}
	if o.IdleExit == 0 {
		o.IdleExit = defaultIdleExit
	}
	if o.MaxDisk == 0 {
		o.MaxDisk = defaultMaxDisk
	}
	return o
}

// Start connects to the user's engine, or starts it and waits until it answers. Any
// number of forges may call it at once; one engine comes of it. The engine outlives
// ctx and the calling process. An engine of another version is replaced as soon as its
// clients have left.
func Start(ctx context.Context, o Options) (*Endpoint, error) {
	o = o.withDefaults()
	if err := prepareStateDir(o.StateDir, o.UID); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	started, other := false, ""
	for {
		pid, err := holder(o.StateDir)
		if err != nil {
			return nil, err
		}
		if pid == 0 {
			if err := spawn(ctx, o); err != nil && !errors.Is(err, errHeld) {
				return nil, err
			}
			started, other = true, ""
			if pid, err = holder(o.StateDir); err != nil {
				return nil, err
			}
		}
		if v, err := ask(ctx, o.StateDir); err == nil && pid != 0 {
			if v == Version(o.Version) {
				return &Endpoint{Address: Address(o.StateDir), Blobs: blobDir(o.StateDir), PID: pid, Started: started}, nil
			}
			other = v.Revision
			if err := signalHolder(o.StateDir, pid, retireSignal); err != nil {
				return nil, err
			}
		}
		if err := pause(ctx, pollInterval); err != nil {
			return nil, waitError(o.StateDir, pid, other, context.Cause(ctx))
		}
	}
}

// Address is where the engine of a state directory listens, in the form Dial takes.
func Address(stateDir string) string {
	return "unix://" + filepath.Join(stateDir, socketName)
}

func blobDir(stateDir string) string {
	return filepath.Join(stateDir, cacheName, contentName, blobsName)
}

// Version is what an embedded engine of this program says of itself: BuildKit's
// package and version as linked in, and forge's version as revision. An engine whose
// package and version are the same encodes layers the same way as this program does.
func Version(forge string) client.BuildkitVersion {
	v := client.BuildkitVersion{Package: "github.com/moby/buildkit", Version: "unknown", Revision: forge}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, m := range info.Deps {
		if m.Path == v.Package {
			v.Version = m.Version
		}
	}
	return v
}

// ask dials the engine of a state directory and returns its version.
func ask(ctx context.Context, stateDir string) (client.BuildkitVersion, error) {
	if _, err := os.Lstat(filepath.Join(stateDir, socketName)); err != nil {
		return client.BuildkitVersion{}, err
	}
	c, err := client.New(ctx, "passthrough:///engine", client.WithContextDialer(socketDialer(stateDir)))
	if err != nil {
		return client.BuildkitVersion{}, err
	}
	defer c.Close()
	info, err := c.Info(ctx)
	if err != nil {
		return client.BuildkitVersion{}, err
	}
	v := info.BuildkitVersion
	v.DockerfileVersion = "" // of a frontend that this engine does not have
	return v, nil
}

// pause waits, or returns ctx's error when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// waitError is why Start gave up waiting.
func waitError(stateDir string, pid int, other string, cause error) error {
	switch {
	case errors.Is(cause, context.Canceled):
		return cause
	case other != "":
		return diag.Errorf(diag.Busy, "Wait until it is done, or end it with `forge engine stop`.",
			"starting the embedded engine: forge %s still builds with its own", other)
	case pid != 0:
		return unresponsive(stateDir, pid, cause)
	}
	return startError(stateDir, cause)
}

func startError(stateDir string, cause error) error {
	return diag.Errorf(diag.EngineStart, "", "starting the embedded engine: %w%s", cause, logTail(stateDir))
}

func unresponsive(stateDir string, pid int, cause error) error {
	return diag.Errorf(diag.EngineStart, "Stop it with `forge engine stop`, then run the command again.",
		"waiting for the embedded engine: process %d holds %s but does not answer: %w%s", pid, stateDir, cause, logTail(stateDir))
}
