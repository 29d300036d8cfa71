package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"forge/internal/diag"

	"github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Status is what an embedded engine is doing. Without a running engine only StateDir
// and Disk are set.
type Status struct {
	Running  bool      `json:"running"`
	PID      int       `json:"pid,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Address  string    `json:"address,omitempty"`
	BuildKit string    `json:"buildkit,omitempty"` // version linked in
	Forge    string    `json:"forge,omitempty"`    // version of the forge that is the engine
	Rootless bool      `json:"rootless"`
	PeakRSS  int64     `json:"peakRSS,omitempty"` // bytes
	StateDir string    `json:"stateDir"`
	Disk     int64     `json:"disk"` // bytes in StateDir, as far as readable
}

// How long an engine that was told to stop may take, and one that did not until it is
// killed.
const (
	stopTimeout = drainTimeout + 20*time.Second
	killTimeout = 5 * time.Second
	askTimeout  = 5 * time.Second
)

// ReadStatus tells what the engine is doing. It starts nothing.
func ReadStatus(ctx context.Context, o Options) (Status, error) {
	s := Status{StateDir: o.StateDir, Rootless: o.UID != 0}
	pid, err := holder(o.StateDir)
	if err != nil {
		return s, err
	}
	s.Disk = diskUsage(o.StateDir)
	if pid == 0 {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := ask(ctx, o.StateDir)
	if err != nil {
		return s, unresponsive(o.StateDir, pid, err)
	}
	s.Running, s.PID, s.Address = true, pid, Address(o.StateDir)
	s.BuildKit, s.Forge = v.Version, v.Revision
	if fi, err := os.Stat(fmt.Sprintf("%s/%s", o.StateDir, dirtyName)); err == nil {
		s.Started = fi.ModTime() // the engine writes it once, at its start
	}
	s.PeakRSS, err = peakRSS(pid)
	return s, err
}

// peakRSS reads the most memory a process has had, in bytes.
func peakRSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in the status of process %d", pid)
}

// Stop ends the engine: running builds get a few seconds to finish, and caches are
// written to disk. It returns false when none was running.
func Stop(ctx context.Context, o Options) (stopped bool, err error) {
	pid, err := holder(o.StateDir)
	if err != nil || pid == 0 {
		return false, err
	}
	return true, stopProcess(ctx, o.StateDir, pid)
}

// retireSignal asks an engine to leave once it has no clients.
const retireSignal = unix.SIGHUP

// stopProcess ends the engine pid, the hard way if it must be.
func stopProcess(ctx context.Context, stateDir string, pid int) error {
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, stopTimeout}, {unix.SIGKILL, killTimeout}} {
		if err := signalHolder(stateDir, pid, step.signal); err != nil {
			return err
		}
		if gone, err := released(ctx, stateDir, pid, step.wait); err != nil || gone {
			return err
		}
	}
	return diag.Errorf(diag.EngineStart, "", "stopping the engine: process %d does not end", pid)
}

// signalHolder signals pid if it holds the state directory, and no other process ever:
// that is asked again once pid cannot be given to another process any more.
func signalHolder(stateDir string, pid int, signal unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signalling the engine: %w", err)
	}
	defer unix.Close(fd)
	if now, err := holder(stateDir); err != nil || now != pid {
		return err
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signalling the engine: %w", err)
	}
	return nil
}

// released waits until pid no longer holds the state directory.
func released(ctx context.Context, stateDir string, pid int, atMost time.Duration) (bool, error) {
	limit, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		now, err := holder(stateDir)
		if err != nil || now != pid {
			return err == nil, err
		}
		if err := pause(limit, pollInterval); err != nil {
			return false, ctx.Err()
		}
	}
}

// Prune empties the engine's cache, except what running builds use, and returns how
// many bytes that freed. It starts the engine if none runs.
func Prune(ctx context.Context, o Options) (freed int64, err error) {
	e, err := Start(ctx, o)
	if err != nil {
		return 0, err
	}
	c, err := Dial(ctx, e.Address, DialOptions{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	records := make(chan client.UsageInfo)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(records)
		return c.Prune(ctx, records, client.PruneAll)
	})
	for r := range records {
		freed += r.Size
	}
	if err := g.Wait(); err != nil {
		return freed, fmt.Errorf("pruning the engine's cache: %w", err)
	}
	return freed, nil
}
