package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"forge/internal/diag"
)

// maxRead bounds a file that a layout reads from the layers below, in bytes.
const maxRead = 64 << 20

// Below is the tree under a finish layer: several layers, each over the ones before.
// Paths are absolute and are never followed through links.
type Below interface {
	// Lookup finds a path; attributes and link target are set, size and hash need not be.
	Lookup(path string) (Entry, bool, error)
	// Under lists the files and links below a directory, sorted by path.
	Under(dir string) ([]Entry, error)
	// Read gives a file's content.
	Read(path string) ([]byte, error)
}

// Memory is a Below of known entries.
type Memory struct {
	entries map[string]Entry
	read    func(Entry) ([]byte, error)
}

// NewMemory stacks layers, the lowest first; read gives the content of a file.
func NewMemory(layers [][]Entry, read func(Entry) ([]byte, error)) *Memory {
	m := &Memory{map[string]Entry{}, read}
	for _, layer := range layers {
		for _, e := range layer {
			m.entries[e.Path] = e
		}
	}
	return m
}

// Lookup finds a path.
func (m *Memory) Lookup(path string) (Entry, bool, error) {
	e, ok := m.entries[path]
	return e, ok, nil
}

// Under lists the files and links below a directory.
func (m *Memory) Under(dir string) ([]Entry, error) {
	var list []Entry
	for path, e := range m.entries {
		if e.Type != TypeDirectory && strings.HasPrefix(path, dir+"/") {
			list = append(list, e)
		}
	}
	sortEntries(list)
	return list, nil
}

// Read gives a file's content.
func (m *Memory) Read(path string) ([]byte, error) {
	e, ok := m.entries[path]
	if !ok || e.Type != TypeFile && e.Type != TypeHardlink {
		return nil, fmt.Errorf("reading %q: no such file in the layers below", path)
	}
	return m.read(e)
}

// DiskBelow is a Below of directories, one a layer.
type DiskBelow struct{ roots []int }

// OpenBelow opens the directories, the lowest first.
func OpenBelow(dirs []string) (*DiskBelow, error) {
	b := new(DiskBelow)
	for _, dir := range dirs {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening layer %q: %w", dir, err)
		}
		b.roots = append(b.roots, fd)
	}
	slices.Reverse(b.roots)
	return b, nil
}

// Lookup finds a path.
func (b *DiskBelow) Lookup(path string) (Entry, bool, error) {
	for _, root := range b.roots {
		e, ok, err := lookup(root, path)
		if ok || err != nil {
			return e, ok, err
		}
	}
	return Entry{}, false, nil
}

// lookup finds a path in one layer.
func lookup(root int, path string) (Entry, bool, error) {
	dir, err := walk(root, parent(path), false)
	if absent(err) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, fmt.Errorf("looking up %q: %w", path, err)
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	err = unix.Fstatat(dir, base(path), &st, unix.AT_SYMLINK_NOFOLLOW)
	if absent(err) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, fmt.Errorf("looking up %q: %w", path, err)
	}
	e := Entry{Path: path, Mode: Mode(st.Mode & 0o7777), UID: int(st.Uid), GID: int(st.Gid), MTime: int64(st.Mtim.Sec)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Type = TypeDirectory
	case unix.S_IFLNK:
		e.Type, e.Mode = TypeSymlink, 0o777
		buf := make([]byte, 4096)
		n, err := unix.Readlinkat(dir, base(path), buf)
		if err != nil {
			return e, false, fmt.Errorf("looking up %q: %w", path, err)
		}
		e.Target = string(buf[:n])
	default:
		e.Type, e.Size = TypeFile, st.Size
	}
	return e, true, nil
}

func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// Under lists the files and links below a directory.
func (b *DiskBelow) Under(dir string) ([]Entry, error) {
	found := map[string]bool{}
	for _, root := range b.roots {
		if err := scan(root, dir, found); err != nil {
			return nil, fmt.Errorf("listing %q: %w", dir, err)
		}
	}
	var list []Entry
	for path := range found {
		e, ok, err := b.Lookup(path)
		if err != nil {
			return nil, err
		}
		if ok && e.Type != TypeDirectory {
			list = append(list, e)
		}
	}
	sortEntries(list)
	return list, nil
}

// scan adds every path that is no directory to found.
func scan(root int, dir string, found map[string]bool) error {
	fd, err := walk(root, dir, false)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	children, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, c := range children {
		path := dir + "/" + c.Name()
		if !c.IsDir() {
			found[path] = true
		} else if err := scan(root, path, found); err != nil {
			return err
		}
	}
	return nil
}

// Read gives a file's content.
func (b *DiskBelow) Read(path string) ([]byte, error) {
	for _, root := range b.roots {
		e, ok, err := lookup(root, path)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if e.Type != TypeFile || e.Size > maxRead {
			return nil, fmt.Errorf("reading %q: not a file of at most %d bytes", path, maxRead)
		}
		dir, err := walk(root, parent(path), false)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", path, err)
		}
		defer unix.Close(dir)
		fd, err := openat(dir, base(path), unix.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", path, err)
		}
		f := os.NewFile(uintptr(fd), path)
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxRead))
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", path, err)
		}
		return data, nil
	}
	return nil, diag.Errorf(diag.BuildFailed, "", "reading %q: no such file in the layers below", path)
}
