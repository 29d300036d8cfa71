package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sys/unix"
)

// boxExecutor runs forge's layout program in a box: namespaces of its own for mounts,
// network (empty), processes, IPC and host name; the vertex's root and mounts as its
// whole file system; four capabilities, no way to more; umask 022. The program is
// trusted (forge delivers it by digest), so the box need not withstand what a
// container for foreign code must; it keeps the result independent of the machine, and
// hostile package contents away from it.
//
// No second program sets the box up: one thread of the engine enters the namespaces,
// builds the file system and starts the program from inside. The thread is never
// reused; Go starts no other threads from a locked one. Entering takes about 1 ms.
type boxExecutor struct {
	stage string // where each box mounts its root, in its own mount namespace
}

// Capabilities the program keeps: to give files any owner, mode and time.
const keptCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID

const boxHostname = "forge"

// bind is one directory or file to be seen in the box.
type bind struct {
	source, dest string
	readonly     bool
}

// Run implements executor.Executor.
func (x *boxExecutor) Run(ctx context.Context, _ string, root executor.Mount, mounts []executor.Mount, p executor.ProcessInfo, started chan<- struct{}) (resourcestypes.Recorder, error) {
	signalStart := sync.OnceFunc(func() {
		if started != nil {
			close(started)
		}
	})
	defer signalStart()
	if err := refuseProcess(p.Meta); err != nil {
		return nil, err
	}
	release := &closers{}
	writable := root
	writable.Readonly = false // mount points are made first
	rootPath, err := x.local(ctx, writable, release)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mounting the box's root: %w", err), release.close())
	}
	binds := make([]bind, 0, len(mounts))
	for _, m := range mounts {
		src, err := x.local(ctx, m, release)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("mounting %s: %w", m.Dest, err), release.close())
		}
		binds = append(binds, bind{src, m.Dest, m.Readonly})
	}
	tidy := executor.MountStubsCleaner(context.WithoutCancel(ctx), rootPath, mounts, p.Meta.RemoveMountStubsRecursive)
	err = x.runIn(ctx, bind{rootPath, "/", root.Readonly || p.Meta.ReadonlyRootFS}, binds, p, signalStart)
	tidy()
	return nil, errors.Join(err, release.close())
}

// Exec implements executor.Executor: nothing enters a box.
func (x *boxExecutor) Exec(context.Context, string, executor.ProcessInfo) error {
	return errRefused("a process in a running box")
}

func refuseProcess(m executor.Meta) error {
	switch {
	case m.NetMode != pb.NetMode_NONE || m.Proxy != nil:
		return errRefused("a network")
	case m.SecurityMode != pb.SecurityMode_SANDBOX:
		return errRefused("privileges")
	case len(m.CDIDevices) > 0:
		return errRefused("devices")
	case m.Tty:
		return errRefused("a terminal")
	case m.User != "" && m.User != "0" && m.User != "0:0" && m.User != "root":
		return errRefused(fmt.Sprintf("user %q", m.User))
	case len(m.Args) == 0 || !filepath.IsAbs(m.Args[0]):
		return errRefused("a command without absolute path")
	}
	return nil
}

// local makes a mount's content available at a path of the engine's mount namespace.
func (x *boxExecutor) local(ctx context.Context, m executor.Mount, release *closers) (string, error) {
	ref, err := m.Src.Mount(ctx, m.Readonly)
	if err != nil {
		return "", err
	}
	specs, done, err := ref.Mount()
	if err != nil {
		return "", err
	}
	if done != nil {
		release.add(done)
	}
	mounter := snapshot.LocalMounterWithMounts(specs)
	dir, err := mounter.Mount()
	if err != nil {
		return "", err
	}
	release.add(mounter.Unmount)
	return fs.RootPath(dir, m.Selector)
}

// runIn runs the program in a new box and returns when it has ended and all its
// output has been passed on.
func (x *boxExecutor) runIn(ctx context.Context, root bind, binds []bind, p executor.ProcessInfo, started func()) error {
	if err := os.MkdirAll(x.stage, 0o700); err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	stdout, drainOut, err := forward(p.Stdout)
	if err != nil {
		return err
	}
	defer stdout.Close()
	stderr, drainErr, err := forward(p.Stderr)
	if err != nil {
		return errors.Join(err, stdout.Close())
	}
	defer stderr.Close()
	var state *os.ProcessState
	onThrowawayThread(func() {
		if err = x.enter(root, binds, p.Meta.Cwd); err == nil {
			state, err = runHere(ctx, p.Meta, []*os.File{null, stdout, stderr}, started)
		}
	})
	err = errors.Join(err, stdout.Close(), stderr.Close())
	drainOut()
	drainErr()
	if err != nil {
		return fmt.Errorf("running %s in a box: %w", p.Meta.Args[0], err)
	}
	return exitError(ctx, state, p.Meta.ValidExitCodes)
}

// runHere runs the program from inside the box, as the first of its process namespace.
func runHere(ctx context.Context, m executor.Meta, files []*os.File, started func()) (*os.ProcessState, error) {
	p, err := os.StartProcess(m.Args[0], m.Args, &os.ProcAttr{
		Dir:   filepath.Join("/", m.Cwd),
		Env:   m.Env,
		Files: files,
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Cloneflags: syscall.CLONE_NEWPID,
			Pdeathsig:  syscall.SIGKILL, // bound to this thread, which waits below
		},
	})
	if err != nil {
		return nil, err
	}
	started()
	defer context.AfterFunc(ctx, func() { _ = p.Kill() })()
	return p.Wait()
}

// forward makes a pipe whose reader end is copied to w, which it closes; wait returns
// when everything has been copied.
func forward(w io.WriteCloser) (end *os.File, wait func(), err error) {
	r, end, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.Close()
		if w == nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		defer w.Close()
		if _, err := io.Copy(w, r); err != nil {
			_, _ = io.Copy(io.Discard, r) // the program must not block on a client that left
		}
	}()
	return end, func() { <-done }, nil
}

func exitError(ctx context.Context, state *os.ProcessState, valid []int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	code := state.ExitCode()
	if code == 0 && valid == nil {
		return nil
	}
	for _, v := range valid {
		if v == code {
			return nil
		}
	}
	if code < 0 {
		return &gatewayapi.ExitError{ExitCode: gatewayapi.UnknownExitStatus, Err: errors.New(state.String())}
	}
	return &gatewayapi.ExitError{ExitCode: uint32(code)}
}

// onThrowawayThread runs fn on a thread that nothing else ever runs on. The main
// thread cannot be thrown away (and /proc/self shows its namespaces), so it is held
// while another is used.
func onThrowawayThread(fn func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(done)
		if unix.Gettid() == unix.Getpid() {
			onThrowawayThread(fn)
			runtime.UnlockOSThread()
			return
		}
		fn()
	}()
	<-done
}

// enter turns the calling thread into the inside of a box.
func (x *boxExecutor) enter(root bind, binds []bind, cwd string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	unix.Umask(0o022)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount(root.source, x.stage, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting the root: %w", err)
	}
	for _, b := range binds {
		if err := x.bind(b); err != nil {
			return fmt.Errorf("mounting %s: %w", b.dest, err)
		}
	}
	dir, err := fs.RootPath(x.stage, cwd)
	if err != nil {
		return fmt.Errorf("working directory %q: %w", cwd, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	if root.readonly {
		if err := remountReadonly(x.stage); err != nil {
			return fmt.Errorf("mounting the root read-only: %w", err)
		}
	}
	if err := pivot(x.stage); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(boxHostname)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	return dropPrivileges()
}

func (x *boxExecutor) bind(b bind) error {
	dest, err := fs.RootPath(x.stage, b.dest)
	if err != nil {
		return err
	}
	if err := mountPoint(b.source, dest); err != nil {
		return err
	}
	if err := unix.Mount(b.source, dest, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if b.readonly {
		return remountReadonly(dest)
	}
	return nil
}

// mountPoint makes what source can be mounted on, unless it is there.
func mountPoint(source, dest string) error {
	fi, err := os.Stat(source)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return os.MkdirAll(dest, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(dest, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// remountReadonly keeps the other flags of a mount: in a user namespace they are locked.
func remountReadonly(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	const kept = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME
	flags := uintptr(st.Flags)&kept | unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY
	return unix.Mount("", dir, "", flags, "")
}

// pivot makes dir the root and takes everything else out of sight.
func pivot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("entering the root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	return unix.Chdir("/")
}

// dropPrivileges bounds what the program started from this thread can ever have.
func dropPrivileges() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if keptCaps>>c&1 == 1 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: a capability this kernel does not know
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	caps[0].Inheritable, caps[1].Inheritable = 0, 0
	if err := unix.Capset(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("dropping inheritable capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("dropping ambient capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding new privileges: %w", err)
	}
	return nil
}
