package rootfs

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"

	"forge/internal/debian/deb"
	"forge/internal/diag"
)

// Listing is what one package ships: its files with their hashes, under their
// usr-merged paths, and what dpkg's view of it needs. It depends on nothing but the
// package file, so it can be kept by the file's digest.
type Listing struct {
	Package string            `json:"package"`
	Version string            `json:"version"`
	Arch    string            `json:"arch"`
	Control []byte            `json:"control"`
	MD5Sums map[string]string `json:"md5sums"` // every file's, by path: as shipped, else (conffiles) worked out
	Entries []Entry           `json:"entries"` // in the package's order
}

// Sink takes a layer's entries and writes them somewhere. Put is called from several
// goroutines at once, each with its own lane number below the number of workers;
// content is nil but for files. Entries may come before their parents, never before
// the file that a hardlink names. Close is called once with the whole layer, sorted.
type Sink interface {
	Put(lane int, e *Entry, content io.Reader) error
	Close(entries []Entry) error
}

// List reads a whole package. Errors about the package are diag.MalformedPackage or
// diag.TooLarge and name it.
func List(p *deb.Package) (*Listing, error) {
	return list(p, func(*Entry) bool { return true }, nothing{}, 0)
}

// nothing is the Sink of a caller who wants the entries only.
type nothing struct{}

func (nothing) Put(_ int, _ *Entry, content io.Reader) error {
	if content == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, content)
	return err
}

func (nothing) Close([]Entry) error { return nil }

// list reads a package and puts those entries into the sink that keep wants.
func list(p *deb.Package, keep func(*Entry) bool, sink Sink, lane int) (*Listing, error) {
	l := &Listing{
		Package: p.Field("Package"), Version: p.Field("Version"), Arch: p.Field("Architecture"),
		Control: p.Control, MD5Sums: map[string]string{},
	}
	if !packageName.MatchString(l.Package) {
		return nil, diag.Errorf(diag.MalformedPackage, "", "package name %q is not a name", l.Package)
	}
	for path, sum := range p.MD5Sums {
		l.MD5Sums[merged("/"+path)] = sum
	}
	r := reader{l: l, keep: keep, sink: sink, lane: lane, seen: map[string]*Entry{}, sha: sha256.New(), md5: md5.New()}
	if err := p.Data(r.entry); err != nil {
		return nil, fmt.Errorf("package %q: %w", l.Package, err)
	}
	r.dropForeignSums()
	return l, nil
}

// reader turns one package's entries into a Listing.
type reader struct {
	l    *Listing
	keep func(*Entry) bool
	sink Sink
	lane int
	seen map[string]*Entry // by path; implied parents are nil
	sha  hash.Hash
	md5  hash.Hash
}

func (r *reader) entry(d deb.Entry, content io.Reader) error {
	if d.Path == "" {
		return nil // every root directory is the same
	}
	e, err := shape(d, r.l.Package)
	if err != nil {
		return err
	}
	known, err := r.place(&e)
	if err != nil || known {
		return err
	}
	if e.Type == TypeHardlink {
		t := r.seen[e.Target]
		if t == nil || t.Type != TypeFile {
			return refuse("entry %q is a hard link to %q, which is no earlier file of the package", e.Path, e.Target)
		}
		e.Size, e.SHA256, e.Mode, e.UID, e.GID, e.MTime, e.Stripped = t.Size, t.SHA256, t.Mode, t.UID, t.GID, t.MTime, t.Stripped
		if r.keep(&e) && !r.keep(t) {
			return refuse("entry %q is a hard link to %q, which is pruned or dropped", e.Path, e.Target)
		}
	}
	if !r.keep(&e) {
		r.seen[e.Path] = &e
		if e.Type == TypeFile {
			_, err = io.Copy(io.Discard, content)
		}
		return err
	}
	if err := r.put(&e, content); err != nil {
		return err
	}
	r.l.Entries = append(r.l.Entries, e)
	r.seen[e.Path] = &e
	return nil
}

// put hashes a file's content on its way into the sink.
func (r *reader) put(e *Entry, content io.Reader) error {
	if e.Type != TypeFile {
		if e.Type == TypeHardlink && r.l.MD5Sums[e.Path] == "" {
			r.l.MD5Sums[e.Path] = r.l.MD5Sums[e.Target]
		}
		return r.sink.Put(r.lane, e, nil)
	}
	r.sha.Reset()
	w := io.Writer(r.sha)
	needMD5 := r.l.MD5Sums[e.Path] == ""
	if needMD5 {
		r.md5.Reset()
		w = io.MultiWriter(r.sha, r.md5)
	}
	counted := &countingReader{r: io.TeeReader(content, w)}
	if err := r.sink.Put(r.lane, e, counted); err != nil {
		return err
	}
	if counted.n != e.Size {
		return fmt.Errorf("writing %q: %d of %d bytes taken", e.Path, counted.n, e.Size)
	}
	e.SHA256 = hex.EncodeToString(r.sha.Sum(nil))
	if needMD5 {
		r.l.MD5Sums[e.Path] = hex.EncodeToString(r.md5.Sum(nil))
	}
	return nil
}

// place checks that an entry fits where the package's earlier ones left its path and
// parents; known tells that it is a directory already listed.
func (r *reader) place(e *Entry) (known bool, err error) {
	for dir := parent(e.Path); dir != "/"; dir = parent(dir) {
		have, ok := r.seen[dir]
		if ok && have != nil && have.Type != TypeDirectory {
			return false, refuse("entry %q lies below %q, which is a %s", e.Path, dir, have.Type)
		}
		if ok {
			break
		}
		r.seen[dir] = nil
	}
	have, ok := r.seen[e.Path]
	if !ok || have == nil && e.Type == TypeDirectory {
		return false, nil
	}
	if have != nil && have.Type == TypeDirectory && e.Type == TypeDirectory {
		return true, nil
	}
	if have != nil && e.Type == TypeSymlink && *have == *e && mergeLinks[e.Path] != "" {
		return true, nil
	}
	return false, refuse("entry %q comes twice or takes the place of a directory", e.Path)
}

// dropForeignSums forgets sums of files that the package does not have.
func (r *reader) dropForeignSums() {
	for path := range r.l.MD5Sums {
		if e := r.seen[path]; e == nil || e.Type != TypeFile && e.Type != TypeHardlink {
			delete(r.l.MD5Sums, path)
		}
	}
}

// shape gives a package's entry the form it has in an image: its usr-merged path, no
// setuid, setgid or sticky bits on files, one time for directories.
func shape(d deb.Entry, pkg string) (Entry, error) {
	e := Entry{Path: merged("/" + d.Path), Mode: Mode(d.Mode), UID: d.UID, GID: d.GID, MTime: d.MTime, Origin: pkg}
	switch d.Type {
	case deb.Directory:
		e.Type, e.MTime = TypeDirectory, GeneratedTime
		if to := runLinks[e.Path]; to != "" && pkg == baseFiles {
			e.Type, e.Mode, e.Target = TypeSymlink, 0o777, to
		}
	case deb.Symlink:
		e.Type, e.Target, e.Mode = TypeSymlink, d.Target, 0o777
		if want, top := mergeLinks["/"+d.Path]; top {
			if strings.TrimPrefix(d.Target, "/") != want {
				return e, refuse("entry %q links to %q instead of %q", d.Path, d.Target, want)
			}
			e.Path, e.Target, e.MTime = "/"+d.Path, want, GeneratedTime
		}
	case deb.Hardlink:
		e.Type, e.Target = TypeHardlink, merged("/"+d.Target)
	default:
		e.Type, e.Size = TypeFile, d.Size
		if e.Mode&0o7000 != 0 {
			e.Stripped = fmt.Sprintf("%04o", uint32(e.Mode))
			e.Mode &= 0o777
		}
	}
	if _, top := mergeLinks["/"+d.Path]; top && e.Type != TypeDirectory && e.Type != TypeSymlink {
		return e, refuse("entry %q is neither a directory nor a link", d.Path)
	}
	return e, nil
}

// mergeLinks are the links that make a usr-merged root.
var mergeLinks = map[string]string{
	"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib",
	"/lib32": "usr/lib32", "/lib64": "usr/lib64", "/libx32": "usr/libx32",
}

// runLinks are directories that base-files ships and its postinst turns into links.
var runLinks = map[string]string{"/var/run": "/run", "/var/lock": "/run/lock"}

// merged is the path under which a usr-merged system has a package's path.
func merged(path string) string {
	top := path
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		top = path[:i+1]
	}
	if to, ok := mergeLinks[top]; ok {
		return "/" + to + path[len(top):]
	}
	return path
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

func refuse(format string, args ...any) error {
	return diag.Errorf(diag.MalformedPackage, "", format, args...)
}
