package pipeline

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"forge/internal/archive"
	"forge/internal/debian/deb"
	"forge/internal/diag"
	"forge/internal/lock"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

// contentsVersion names the form of the cached records; another form, another folder.
const contentsVersion = "v2"

// maxCopyright bounds one copyright file, in bytes.
const maxCopyright = 4 << 20

// contents is what the pipeline must know of a package file beyond its digest.
type contents struct {
	Listing   *rootfs.Listing `json:"listing"`
	SHA512    string          `json:"sha512"`
	Copyright []byte          `json:"copyright,omitempty"`
	DocOf     string          `json:"doc_of,omitempty"` // package whose copyright file counts, where the doc directory is a link to it
}

// scripts are the maintainer scripts of a package; all that a build must know of it.
type scripts struct {
	Scripts []deb.Script `json:"scripts"`
}

// contentsOf reads packages whole, once a digest; the result has the order of packages.
func (h *Host) contentsOf(ctx context.Context, files packageFiles, packages []lock.Package) ([]*contents, error) {
	return readAll(ctx, h, "contents", files, packages, readContents)
}

// scriptsOf reads the scripts of packages, once a digest, in the order of packages.
func (h *Host) scriptsOf(ctx context.Context, files packageFiles, packages []lock.Package) ([]*scripts, error) {
	return readAll(ctx, h, "scripts", files, packages, func(f *os.File, p *deb.Package) (*scripts, error) {
		return &scripts{p.Scripts}, nil
	})
}

// packageFiles gives the verified files of locked packages, by SHA-256.
type packageFiles func(ctx context.Context, packages []lock.Package) (map[string]string, error)

// archiveFiles gives packages' files from their archives, through the cache.
func archiveFiles(archives *archive.Client, set *spec.Set, f *lock.File) packageFiles {
	return func(ctx context.Context, packages []lock.Package) (map[string]string, error) {
		return archives.Packages(ctx, set, f, packages)
	}
}

// readAll gives what read makes of each package file, from the records in the cache
// where they are there.
func readAll[T any](ctx context.Context, h *Host, kind string, files packageFiles, packages []lock.Package, read func(*os.File, *deb.Package) (*T, error)) ([]*T, error) {
	dir := filepath.Join(h.Cache, "packages", contentsVersion, kind)
	record := func(p lock.Package) string { return filepath.Join(dir, p.SHA256+".json") }
	out := make([]*T, len(packages))
	var missing []lock.Package
	for i, p := range packages {
		v, ok := readRecord[T](record(p))
		if out[i] = v; !ok {
			out[i] = nil
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	names, err := files(ctx, missing)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, p := range packages {
		if out[i] != nil {
			continue
		}
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			v, err := openPackage(names[p.SHA256], read)
			if err != nil {
				return fmt.Errorf("reading package %s %s: %w", p.Name, p.Version, err)
			}
			out[i] = v
			return writeRecord(record(p), v)
		})
	}
	return out, group.Wait()
}

func openPackage[T any](name string, read func(*os.File, *deb.Package) (*T, error)) (*T, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, diag.Errorf(diag.Disk, "", "opening a package: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, diag.Errorf(diag.Disk, "", "opening a package: %w", err)
	}
	p, err := deb.Open(f, info.Size())
	if err != nil {
		return nil, err
	}
	return read(f, p)
}

func readContents(f *os.File, p *deb.Package) (*contents, error) {
	listing, err := rootfs.List(p)
	if err != nil {
		return nil, err
	}
	c := &contents{Listing: listing}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, diag.Errorf(diag.Disk, "", "reading a package: %w", err)
	}
	sum := sha512.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, diag.Errorf(diag.Disk, "", "reading a package: %w", err)
	}
	c.SHA512 = hex.EncodeToString(sum.Sum(nil))
	c.Copyright, c.DocOf, err = readCopyright(p, listing.Package)
	return c, err
}

// readCopyright finds a package's copyright file (Debian policy 12.5), or the package
// that its doc directory is a link to.
func readCopyright(p *deb.Package, name string) (text []byte, of string, err error) {
	dir := path.Join("usr/share/doc", name)
	err = p.Data(func(e deb.Entry, content io.Reader) error {
		switch {
		case e.Type == deb.Symlink && e.Path == dir:
			of = path.Base(e.Target)
		case e.Type == deb.File && e.Path == dir+"/copyright":
			var b bytes.Buffer
			if _, err := io.Copy(&b, io.LimitReader(content, maxCopyright)); err != nil {
				return err
			}
			text = b.Bytes()
		case e.Type == deb.Symlink && e.Path == dir+"/copyright" && strings.Count(e.Target, "/") > 0:
			of = path.Base(path.Dir(e.Target))
		}
		return nil
	})
	return text, of, err
}
