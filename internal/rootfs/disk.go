package rootfs

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Disk is the Sink that writes a layer into an empty directory. It follows no link: each
// component of a path is opened from its parent's descriptor, and files are only ever
// created. What it leaves behind does not depend on the umask.
type Disk struct {
	root  int
	lanes []lane

	mu    sync.Mutex
	clash string // a path that was already there
}

// lane is one goroutine's place in the tree: packages list their files directory by
// directory, so the last one is kept open.
type lane struct {
	dir string
	fd  int
	buf []byte
}

// NewDisk opens the directory for Lay with at most that many workers.
func NewDisk(dir string, workers int) (*Disk, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening output directory %q: %w", dir, err)
	}
	d := &Disk{root: fd, lanes: make([]lane, max(1, workers))}
	for i := range d.lanes {
		d.lanes[i] = lane{dir: "/", fd: -1, buf: make([]byte, 256<<10)}
	}
	return d, nil
}

// Put writes a file or link. Directories wait for Close.
func (d *Disk) Put(n int, e *Entry, content io.Reader) error {
	if e.Type == TypeDirectory {
		return nil
	}
	if err := d.put(&d.lanes[n], e, content); err != nil {
		return fmt.Errorf("writing %q: %w", e.Path, err)
	}
	return nil
}

func (d *Disk) put(l *lane, e *Entry, content io.Reader) error {
	name := base(e.Path)
	if name == "" || name == "." || name == ".." {
		return unix.EINVAL
	}
	dir, err := d.enter(l, parent(e.Path))
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return d.clashed(e.Path, content)
	}
	if err != nil {
		return err
	}
	switch e.Type {
	case TypeFile:
		err = writeFile(dir, name, e, content, l.buf)
	case TypeSymlink:
		if err = unix.Symlinkat(e.Target, dir, name); err == nil {
			err = setAttributes(dir, name, e)
		}
	case TypeHardlink:
		err = d.hardlink(e.Target, dir, name)
	}
	if errors.Is(err, unix.EEXIST) {
		return d.clashed(e.Path, content)
	}
	return err
}

// clashed notes that a path is taken. Lay's merge names the two packages; should it
// find none, Close fails.
func (d *Disk) clashed(path string, content io.Reader) error {
	d.mu.Lock()
	d.clash = path
	d.mu.Unlock()
	if content == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, content)
	return err
}

// enter gives a descriptor of a directory, making it and its parents where needed.
func (d *Disk) enter(l *lane, dir string) (int, error) {
	if dir == "/" {
		return d.root, nil
	}
	if l.fd >= 0 && l.dir == dir {
		return l.fd, nil
	}
	fd, err := walk(d.root, dir, true)
	if err != nil {
		return -1, err
	}
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
	l.dir, l.fd = dir, fd
	return fd, nil
}

func (d *Disk) hardlink(target string, dir int, name string) error {
	from, err := walk(d.root, parent(target), false)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	return unix.Linkat(from, base(target), dir, name, 0)
}

// walk opens a directory below root, component by component, following no link.
func walk(root int, dir string, create bool) (int, error) {
	fd := root
	for name := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		switch name {
		case "":
			name = "."
		case "..":
			if fd != root {
				unix.Close(fd)
			}
			return -1, unix.EINVAL
		}
		next, err := openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if create && errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(fd, name, 0o700); err == nil || errors.Is(err, unix.EEXIST) {
				next, err = openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
			}
		}
		if fd != root {
			unix.Close(fd)
		}
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

func writeFile(dir int, name string, e *Entry, content io.Reader, buf []byte) error {
	fd, err := openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(fdWriter(fd), struct{ io.Reader }{content}, buf)
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return setAttributes(dir, name, e)
}

// setAttributes gives a path its owner, mode and time. The path was made by this
// process, so it is what its entry says.
func setAttributes(dir int, name string, e *Entry) error {
	if err := unix.Fchownat(dir, name, e.UID, e.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("setting owner %d:%d: %w", e.UID, e.GID, err)
	}
	if e.Type != TypeSymlink {
		if err := unix.Fchmodat(dir, name, uint32(e.Mode), 0); err != nil {
			return fmt.Errorf("setting mode %04o: %w", uint32(e.Mode), err)
		}
	}
	at := []unix.Timespec{{Sec: e.MTime}, {Sec: e.MTime}}
	if err := unix.UtimesNanoAt(dir, name, at, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("setting time: %w", err)
	}
	return nil
}

// Close makes the directories that are left and sets every directory's attributes, the
// deepest first, then the root's.
func (d *Disk) Close(entries []Entry) error {
	if d.clash != "" {
		return fmt.Errorf("writing %q: output directory is not empty", d.clash)
	}
	l := &d.lanes[0]
	for i := range entries {
		if e := &entries[i]; e.Type == TypeDirectory {
			if _, err := d.enter(l, e.Path); err != nil {
				return fmt.Errorf("making directory %q: %w", e.Path, err)
			}
		}
	}
	for i := len(entries) - 1; i >= 0; i-- {
		e := &entries[i]
		if e.Type != TypeDirectory {
			continue
		}
		dir, err := d.enter(l, parent(e.Path))
		if err == nil {
			err = setAttributes(dir, base(e.Path), e)
		}
		if err != nil {
			return fmt.Errorf("directory %q: %w", e.Path, err)
		}
	}
	root := directory("/", 0o755, 0, 0, "")
	if err := setAttributes(d.root, ".", &root); err != nil {
		return fmt.Errorf("output directory: %w", err)
	}
	for i := range d.lanes {
		if d.lanes[i].fd >= 0 {
			unix.Close(d.lanes[i].fd)
		}
	}
	return unix.Close(d.root)
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// fdWriter writes to a descriptor without the bookkeeping of os.File, which counts with
// ten thousand small files.
type fdWriter int

func (w fdWriter) Write(b []byte) (int, error) {
	total := 0
	for len(b) > 0 {
		n, err := unix.Write(int(w), b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return total, err
		}
		total, b = total+n, b[n:]
	}
	return total, nil
}
