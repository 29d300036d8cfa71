package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"forge/internal/diag"

	"github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// The test program is also the engine it starts, as forge is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve-engine" {
		if err := Serve(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testOptions(t *testing.T) Options {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		StateDir: filepath.Join(t.TempDir(), "engine"), Exe: exe, Args: []string{"serve-engine"},
		Env: os.Environ(), UID: os.Geteuid(), Version: "test",
	}
	t.Cleanup(func() {
		if _, err := Stop(context.Background(), o); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return o
}

func start(t *testing.T, o Options) *Endpoint {
	t.Helper()
	e, err := Start(t.Context(), o)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	return e
}

func dial(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := Dial(t.Context(), address, DialOptions{})
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestStartStatusStop(t *testing.T) {
	o := testOptions(t)
	o.StateDir = filepath.Join(o.StateDir, strings.Repeat("deep/", 30), "engine") // longer than a socket address
	if s, err := ReadStatus(t.Context(), o); err != nil || s.Running {
		t.Fatalf("ReadStatus before = %+v, %v", s, err)
	}
	e := start(t, o)
	if !e.Started {
		t.Error("the first Start did not start the engine")
	}
	if sid, err := unix.Getsid(e.PID); err != nil || sid != e.PID {
		t.Errorf("the engine's session is %d, %v: Ctrl-C at this terminal would reach it", sid, err)
	}
	again := start(t, o)
	if again.Started || again.PID != e.PID {
		t.Errorf("the second Start gave %+v after %+v", again, e)
	}
	s, err := ReadStatus(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Running || s.PID != e.PID || s.PeakRSS == 0 || s.Disk == 0 || s.Started.IsZero() || s.Forge != "test" {
		t.Errorf("ReadStatus = %+v", s)
	}
	if v := Version("").Version; s.BuildKit != v {
		t.Errorf("engine reports BuildKit %q, this program links %q", s.BuildKit, v)
	}
	if stopped, err := Stop(t.Context(), o); err != nil || !stopped {
		t.Fatalf("Stop = %v, %v", stopped, err)
	}
	if stopped, err := Stop(t.Context(), o); err != nil || stopped {
		t.Errorf("second Stop = %v, %v", stopped, err)
	}
	for _, name := range []string{dirtyName, socketName} {
		if _, err := os.Lstat(filepath.Join(o.StateDir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s remains after a clean stop", name)
		}
	}
}

func TestOneEngineOfManyStarts(t *testing.T) {
	o := testOptions(t)
	pids := make([]int, 4)
	g, ctx := errgroup.WithContext(t.Context())
	for i := range pids {
		g.Go(func() error {
			e, err := Start(ctx, o)
			if err == nil {
				pids[i] = e.PID
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if pid != pids[0] || pid == 0 {
			t.Fatalf("engines %v, want one", pids)
		}
	}
}

func TestIdleExit(t *testing.T) {
	o := testOptions(t)
	o.IdleExit = 20 * time.Millisecond
	e := start(t, o)
	waitGone(t, o, e.PID)
	if next := start(t, o); !next.Started {
		t.Error("no new engine after the old one left")
	}
}

func waitGone(t *testing.T, o Options, pid int) {
	t.Helper()
	gone, err := released(t.Context(), o.StateDir, pid, 20*time.Second)
	if err != nil || !gone {
		t.Fatalf("engine %d is still there: %v", pid, err)
	}
}

func TestOtherVersionIsReplacedOnceItsClientsLeft(t *testing.T) {
	o := testOptions(t)
	old := start(t, o)
	c := dial(t, old.Address)
	o.Version = "newer"
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if e, err := Start(ctx, o); diag.IDOf(err) != diag.Busy {
		t.Errorf("Start beside a client of another version = %+v, %v", e, err)
	}
	if _, err := c.Info(t.Context()); err != nil {
		t.Errorf("the older version's client lost its engine: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	e := start(t, o)
	if !e.Started || e.PID == old.PID {
		t.Errorf("Start gave %+v, the old engine was %+v", e, old)
	}
}

func TestForeignStateDirIsRefused(t *testing.T) {
	o := testOptions(t)
	if err := os.Mkdir(o.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	other := o
	other.UID++
	if _, err := Start(t.Context(), other); diag.IDOf(err) != diag.EngineStart {
		t.Errorf("Start in another user's directory: %v", err)
	}
	link := o
	link.StateDir += "-link"
	if err := os.Symlink(o.StateDir, link.StateDir); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), link); diag.IDOf(err) != diag.EngineStart {
		t.Errorf("Start through a link: %v", err)
	}
}

func TestKilledEngineRecovers(t *testing.T) {
	o := testOptions(t)
	e := start(t, o)
	first := build(t, dial(t, e.Address), treeGraph(t))
	if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, o, e.PID)
	next := start(t, o)
	if !next.Started {
		t.Fatal("no new engine after a kill")
	}
	c := dial(t, next.Address)
	if du, err := c.DiskUsage(t.Context()); err != nil || len(du) != 0 {
		t.Errorf("caches of a killed engine are still read: %v, %v", du, err)
	}
	if second := build(t, c, treeGraph(t)); second != first {
		t.Errorf("layer %s after the kill, %s before", second, first)
	}
}

func TestCacheSurvivesCleanStop(t *testing.T) {
	o := testOptions(t)
	c := dial(t, start(t, o).Address)
	build(t, c, treeGraph(t))
	if _, err := Stop(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	du, err := dial(t, start(t, o).Address).DiskUsage(t.Context())
	if err != nil || len(du) == 0 {
		t.Errorf("cache after a clean stop: %d records, %v", len(du), err)
	}
	before, err := ReadStatus(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	freed, err := Prune(t.Context(), o)
	if err != nil || freed < 1_000_000 { // the probe alone is larger
		t.Errorf("Prune = %d, %v", freed, err)
	}
	if after, err := ReadStatus(t.Context(), o); err != nil || after.Disk > before.Disk-1_000_000 {
		t.Errorf("disk usage %d after Prune, %d before, %v", after.Disk, before.Disk, err)
	}
}

func TestSameDigestFromFreshEngines(t *testing.T) {
	a, b := testOptions(t), testOptions(t)
	first := build(t, dial(t, start(t, a).Address), treeGraph(t))
	defer syscall.Umask(syscall.Umask(0o077))
	b.Env = append(os.Environ(), "GOMAXPROCS=1", "TZ=Asia/Tokyo")
	second := build(t, dial(t, start(t, b).Address), treeGraph(t))
	if first != second {
		t.Errorf("layer %s and %s", first, second)
	}
	t.Logf("layer %s", first) // read by TestRootlessGivesTheSameLayer
}

func TestClientsShareAnEngine(t *testing.T) {
	o := testOptions(t)
	layers := make([]string, 6)
	t.Run("clients", func(t *testing.T) {
		for i := range layers {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				layers[i] = build(t, dial(t, start(t, o).Address), treeGraph(t))
			})
		}
	})
	for _, l := range layers {
		if l != layers[0] || l == "" {
			t.Fatalf("layers %v, want one", layers)
		}
	}
}
