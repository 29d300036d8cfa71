package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// gcPercent spends memory, about 30 MB, to save a seventh of the processor time of a build in
// the engine.
const gcPercent = 400

// drainTimeout is how long running builds may go on once the engine was told to stop.
const drainTimeout = 10 * time.Second

// Serve is the engine: what the hidden command runs that Start starts. Its argument is
// the one that Start appended; anything else is an error. It takes the process over
// (signals, umask, log, BuildKit's globals) and returns when the engine was told to
// stop or nobody has been connected for a while.
func Serve(ctx context.Context, arg string) error {
	var s settings
	if err := json.Unmarshal([]byte(arg), &s); err != nil || s.StateDir == "" {
		return errors.New("the engine is started by forge itself, not by hand")
	}
	unix.CloseOnExec(reportFD)
	unix.CloseOnExec(mappedFD)
	if s.Unmapped {
		return enterMapped(s)
	}
	report := os.NewFile(reportFD, "report")
	err := serve(ctx, s, report)
	if errors.Is(err, errHeld) {
		_, _ = report.WriteString(held)
		return nil
	}
	if err != nil {
		_, _ = report.WriteString(err.Error()) // fails harmlessly once serving
	}
	return err
}

// enterMapped waits until the user namespace has its ids, and starts this program
// again: only a program started by a user who has id 0 gets the namespace's
// capabilities.
func enterMapped(s settings) error {
	n, err := os.NewFile(mappedFD, "mapped").Read(make([]byte, 1))
	if err != nil || n == 0 {
		return fmt.Errorf("waiting for user ids: %w", err)
	}
	s.Unmapped = false
	arg, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if _, err := unix.FcntlInt(reportFD, unix.F_SETFD, 0); err != nil {
		return err
	}
	args := append(os.Args[:len(os.Args)-1:len(os.Args)-1], string(arg))
	return unix.Exec("/proc/self/exe", args, os.Environ())
}

func serve(ctx context.Context, s settings, report *os.File) (err error) {
	unix.Umask(0o022)
	debug.SetGCPercent(gcPercent)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detaching mounts from the machine's: %w", err)
	}
	if err := hold(s.StateDir); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := openCaches(s.StateDir); err != nil {
		return fmt.Errorf("opening caches: %w", err)
	}
	logrus.SetOutput(&boundedLog{f: os.Stderr})
	logrus.SetLevel(logrus.WarnLevel)
	d, err := newDaemon(ctx, s)
	if err != nil {
		return err
	}
	l, err := listen(s.StateDir)
	if err != nil {
		return errors.Join(err, d.close())
	}
	if _, err := report.WriteString(ready); err != nil {
		logrus.Warnf("the forge that started this engine left: %v", err)
	}
	if err := errors.Join(report.Close(), d.run(ctx, l, s.IdleExit)); err != nil {
		logrus.Errorf("serving: %v", err)
	}
	// Nobody finds the engine any more; what is written from here on is only kept if
	// all of it gets to disk.
	if err := errors.Join(os.Remove(filepath.Join(s.StateDir, socketName)), d.close()); err != nil {
		return fmt.Errorf("closing caches: %w", err)
	}
	return closeCaches(s.StateDir)
}

// run serves until ctx ends or no client has been connected for idle.
func (d *daemon) run(ctx context.Context, l net.Listener, idle time.Duration) error {
	conns := newConnections(idle)
	retire := make(chan os.Signal, 1)
	signal.Notify(retire, retireSignal)
	defer signal.Stop(retire)
	go func() {
		for range retire {
			conns.retire()
		}
	}()
	server := grpc.NewServer(append(serverOptions(), grpc.StatsHandler(conns))...)
	d.controller.Register(server)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	case <-conns.idle.C:
	}
	force := time.AfterFunc(drainTimeout, server.Stop)
	defer force.Stop()
	server.GracefulStop()
	return nil
}

// connections is a gRPC stats handler that counts clients and runs a timer while
// there are none.
type connections struct {
	mu    sync.Mutex
	open  int
	after time.Duration
	idle  *time.Timer
}

func newConnections(after time.Duration) *connections {
	return &connections{after: after, idle: time.NewTimer(after)}
}

func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (c *connections) HandleRPC(context.Context, stats.RPCStats)                         {}
func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s.(type) {
	case *stats.ConnBegin:
		c.open++
		c.idle.Stop()
	case *stats.ConnEnd:
		if c.open--; c.open == 0 {
			c.idle.Reset(c.after)
		}
	}
}

// retire makes the next moment without clients the last.
func (c *connections) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after = 0
	if c.open == 0 {
		c.idle.Reset(0)
	}
}

// listen replaces whatever socket an engine before left behind.
func listen(stateDir string) (net.Listener, error) {
	if err := os.Remove(filepath.Join(stateDir, socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	path, done, err := shortSocket(stateDir)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// shortSocket is a path of the state directory's socket that the kernel takes: socket
// addresses hold about 100 bytes, directories go deeper. It is good until done is called.
func shortSocket(stateDir string) (path string, done func(), err error) {
	d, err := os.Open(stateDir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName), func() { _ = d.Close() }, nil
}

// socketDialer dials the state directory's socket, whatever address it is given.
func socketDialer(stateDir string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		path, done, err := shortSocket(stateDir)
		if err != nil {
			return nil, err
		}
		defer done()
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}
