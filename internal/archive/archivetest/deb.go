// Package archivetest makes real Debian archives for tests and for `forge selftest`:
// packages, indexes and signed release files under keys of its own, served on
// loopback with whatever faults a case wants.
//
// The same description gives the same packages and indexes, byte for byte; only keys
// and signatures are new in every run.
package archivetest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// packageTime is when every file of every package was last changed.
var packageTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Package describes one binary package.
type Package struct {
	Name      string
	Version   string            // "1.0-1" when empty
	Arch      string            // "all" when empty
	Component string            // "main" when empty
	Fields    map[string]string // further control fields: Depends, Source, Essential ...
	Files     []File
	Scripts   map[string]string // preinst, postinst, prerm, postrm, triggers, conffiles -> content
}

// File is one entry of a package. Parent directories are added.
type File struct {
	Path    string // "/usr/bin/x"; with a slash at the end, a directory
	Content string
	Link    string // target of a symbolic link
	Mode    int64  // 0644, or 0755 for directories, when zero
	UID     int
	GID     int
}

func (p Package) version() string   { return cmp.Or(p.Version, "1.0-1") }
func (p Package) arch() string      { return cmp.Or(p.Arch, "all") }
func (p Package) component() string { return cmp.Or(p.Component, "main") }

// Path is the package's place in the pool.
func (p Package) Path() string {
	_, v, ok := strings.Cut(p.version(), ":")
	if !ok {
		v = p.version()
	}
	return path.Join("pool", p.component(), p.Name[:1], p.Name, fmt.Sprintf("%s_%s_%s.deb", p.Name, v, p.arch()))
}

// control is the control file, without the fields that only an index has.
func (p Package) control() string {
	fields := map[string]string{
		"Maintainer":  "Test <test@example.com>",
		"Description": "test package " + p.Name,
		"Priority":    "optional",
		"Section":     "misc",
	}
	maps.Copy(fields, p.Fields)
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\n", p.Name, p.version(), p.arch())
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "%s: %s\n", name, fields[name])
	}
	return b.String()
}

// Deb is the package file.
func (p Package) Deb() []byte {
	var sums strings.Builder
	for _, f := range p.Files {
		if f.Link == "" && !strings.HasSuffix(f.Path, "/") {
			sum := md5.Sum([]byte(f.Content))
			fmt.Fprintf(&sums, "%s  %s\n", hex.EncodeToString(sum[:]), strings.TrimPrefix(f.Path, "/"))
		}
	}
	control := []File{{Path: "control", Content: p.control()}, {Path: "md5sums", Content: sums.String()}}
	for _, name := range slices.Sorted(maps.Keys(p.Scripts)) {
		f := File{Path: name, Content: p.Scripts[name], Mode: 0o755}
		if name == "conffiles" || name == "triggers" {
			f.Mode = 0o644
		}
		control = append(control, f)
	}
	return Ar(
		Member{"debian-binary", []byte("2.0\n")},
		Member{"control.tar.xz", XZ(Tar(control...))},
		Member{"data.tar.xz", XZ(Tar(p.Files...))},
	)
}

// Tar packs files as dpkg-deb does: GNU format, names beginning with "./", parent
// directories first, owned by root.
func Tar(files ...File) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	dirs := map[string]bool{}
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Path, b.Path) }) {
		name := strings.Trim(f.Path, "/")
		addParents(w, dirs, path.Dir(name))
		h := &tar.Header{Format: tar.FormatGNU, Typeflag: tar.TypeReg, Name: "./" + name, Mode: cmp.Or(f.Mode, 0o644),
			Size: int64(len(f.Content)), ModTime: packageTime, Uid: f.UID, Gid: f.GID}
		switch {
		case f.Link != "":
			h.Typeflag, h.Linkname, h.Mode, h.Size = tar.TypeSymlink, f.Link, 0o777, 0
		case strings.HasSuffix(f.Path, "/"):
			h.Typeflag, h.Name, h.Mode, h.Size = tar.TypeDir, h.Name+"/", cmp.Or(f.Mode, 0o755), 0
			dirs[name] = true
		}
		must(w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(f.Content))
			must(err)
		}
	}
	must(w.Close())
	return b.Bytes()
}

func addParents(w *tar.Writer, done map[string]bool, dir string) {
	if done[dir] {
		return
	}
	done[dir] = true
	name := "./"
	if dir != "." {
		addParents(w, done, path.Dir(dir))
		name = "./" + dir + "/"
	}
	must(w.WriteHeader(&tar.Header{Format: tar.FormatGNU, Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: packageTime}))
}

// Member is one file of an ar archive.
type Member struct {
	Name string
	Data []byte
}

// Ar packs members as dpkg-deb does.
func Ar(members ...Member) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.Name, packageTime.Unix(), 0, 0, "100644", len(m.Data))
		b.Write(m.Data)
		if len(m.Data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// stanza is the package's entry in an index.
func (p Package) stanza() string {
	deb := p.Deb()
	return fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %s\n\n", p.control(), p.Path(), len(deb), SHA256(deb))
}

// SHA256 is the hash of data in hex.
func SHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// must stops on what cannot happen: writing to memory failed.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("archivetest: %v", err))
	}
}
