package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"forge/internal/diag"

	"golang.org/x/sys/unix"
)

// Names in a state directory.
const (
	socketName = "engine.sock" // where the engine listens
	lockName   = "lock"        // locked by the engine as long as it lives
	dirtyName  = "dirty"       // exists while the caches are not safely on disk
	logName    = "engine.log"
	cacheName  = "cache" // BuildKit's state
	tempName   = "tmp"
	trashName  = "trash-" // caches on their way out

	contentName = "content"      // in cacheName: packages and layers
	blobsName   = "blobs/sha256" // in contentName, as containerd has it
)

const (
	maxLog  = 4 << 20 // bytes of engine.log
	tailLog = 2 << 10 // bytes of it shown in an error
)

// prepareStateDir makes the directory, and refuses one that someone else could have
// prepared.
func prepareStateDir(dir string, uid int) error {
	if !filepath.IsAbs(dir) {
		return diag.Errorf(diag.EngineStart, "", "engine state directory %q is not absolute", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return diag.Errorf(diag.Disk, "", "creating the engine's state directory: %w", err)
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return diag.Errorf(diag.Disk, "", "examining the engine's state directory: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.IsDir() || int(st.Uid) != uid {
		return diag.Errorf(diag.EngineStart, "Remove it, or choose another cache directory.",
			"engine state directory %s is not a directory of user %d", dir, uid)
	}
	if fi.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return diag.Errorf(diag.Disk, "", "closing the engine's state directory to others: %w", err)
	}
	return nil
}

var errHeld = errors.New("another engine holds the state directory")

// hold locks the state directory for the life of this process. The lock is a POSIX
// record lock, because the kernel names its holder: no pid file can lie.
func hold(dir string) error {
	// Not an os.File: once collected, its descriptor would be closed and the lock lost.
	fd, err := unix.Open(filepath.Join(dir, lockName), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("opening the lock: %w", err)
	}
	err = unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errHeld
	}
	return err
}

// holder is the process that serves the state directory, 0 if none does.
func holder(dir string) (int, error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, diag.Errorf(diag.Disk, "", "reading the engine's lock: %w", err)
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil {
		return 0, diag.Errorf(diag.Disk, "", "reading the engine's lock: %w", err)
	}
	if l.Type == unix.F_UNLCK {
		return 0, nil
	}
	if l.Pid <= 0 {
		return 0, diag.Errorf(diag.EngineStart, "Give this container a cache directory of its own.",
			"an engine in another container holds %s", dir)
	}
	return int(l.Pid), nil
}

// openCaches makes the cache directory ready. Caches are written without fsync, so
// what a crash left behind is not read again but removed; the removal itself runs
// behind the engine's back.
func openCaches(dir string) error {
	dirty := filepath.Join(dir, dirtyName)
	if _, err := os.Lstat(dirty); err == nil {
		if err := discardCaches(dir); err != nil {
			return err
		}
	}
	for _, name := range []string{cacheName, tempName} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	if err := writeMark(dirty); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, trashName+"*"))
	if err != nil {
		return err
	}
	go func() {
		for _, t := range old {
			_ = os.RemoveAll(t) // tried again at the next start
		}
	}()
	return nil
}

// writeMark makes an empty file that a crash leaves in place.
func writeMark(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func discardCaches(dir string) error {
	trash, err := os.MkdirTemp(dir, trashName)
	if err != nil {
		return err
	}
	for _, name := range []string{cacheName, tempName} {
		err := os.Rename(filepath.Join(dir, name), filepath.Join(trash, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// closeCaches writes everything to disk and says so.
func closeCaches(dir string) error {
	if err := syncFS(dir); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, dirtyName))
}

func syncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// diskUsage sums the blocks of all files under dir in bytes. What cannot be read, or
// vanishes meanwhile, counts nothing.
func diskUsage(dir string) int64 {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		fi, err := e.Info()
		if err != nil {
			return nil
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if id := (inode{st.Dev, st.Ino}); st.Nlink == 1 || e.IsDir() || !seen[id] {
			seen[id] = true
			sum += st.Blocks * 512
		}
		return nil
	})
	return sum
}

// openLog opens the engine's log for appending, emptied first if it has grown large.
func openLog(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err == nil && fi.Size() > maxLog/2 {
		if err := f.Truncate(0); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// boundedLog writes to a file opened for appending and empties it when it is full.
type boundedLog struct {
	f       *os.File
	written int
}

func (l *boundedLog) Write(p []byte) (int, error) {
	if l.written+len(p) > maxLog/2 {
		if err := l.f.Truncate(0); err != nil {
			return 0, err
		}
		l.written = 0
	}
	n, err := l.f.Write(p)
	l.written += n
	return n, err
}

// logTail is the end of the engine's log as an addition to an error's text, "" when
// there is none.
func logTail(dir string) string {
	f, err := os.Open(filepath.Join(dir, logName))
	if err != nil {
		return ""
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > tailLog {
		if _, err := f.Seek(-tailLog, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, tailLog))
	if b = bytes.TrimSpace(b); err != nil || len(b) == 0 {
		return ""
	}
	return fmt.Sprintf("; the log's last lines:\n%s", strings.ToValidUTF8(string(b), "?"))
}
