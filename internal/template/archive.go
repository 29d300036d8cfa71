package template

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"forge/internal/hclconf"
	"forge/internal/spec"
)

const (
	maxKeyring = 4 << 20   // bytes
	maxSource  = 64 << 20  // bytes of one file's source
	maxSources = 256 << 20 // bytes of all sources of a directory
)

func (l *loader) loadArchives(blocks []*hclsyntax.Block) []spec.Archive {
	built := map[string]spec.Archive{}
	for _, b := range l.conf.Scope.Each(blocks, archiveSchema) {
		name := b.Labels[0].Text
		if first, twice := l.archives[name]; twice {
			l.errorf(b.Labels[0].Range, fmt.Sprintf("archive %q is defined twice", name), "The first is at %s. Delete one of them or give it another name.", hclconf.Place(first.Range))
			continue
		}
		l.archives[name] = b
		if !archiveName.MatchString(name) {
			l.errorf(b.Labels[0].Range, fmt.Sprintf("%q cannot be an archive's name", name), "It has lower-case letters, digits, dots, dashes and underscores, such as \"debian-security\".")
		}
		built[name] = l.archive(b)
	}
	list := []spec.Archive{}
	for _, name := range sortedKeys(built) {
		list = append(list, built[name])
	}
	return list
}

func (l *loader) archive(b *hclconf.Block) spec.Archive {
	a := spec.Archive{Name: b.Labels[0].Text, Kind: "deb"}
	if kind, ok := b.Text("kind"); ok && kind != "deb" {
		l.errorf(b.At("kind"), fmt.Sprintf("unknown kind of archive %q", kind), "The only kind so far is \"deb\", a Debian archive.")
	}
	a.Suites = l.matching(b, "suites", suiteName, "a suite's name", "Write the name of a directory below dists/, such as \"trixie\" or \"trixie-security\".")
	if v, ok := b.Attrs["suites"]; ok && v.LengthInt() == 0 {
		l.errorf(v.Range, fmt.Sprintf("archive %q has no suite", a.Name), "Name at least one, such as [\"trixie\"].")
	}
	a.Components = []string{"main"}
	if v, ok := b.Attrs["components"]; ok {
		if a.Components = l.matching(b, "components", suiteName, "a component's name", "Debian's are \"main\", \"contrib\", \"non-free\" and \"non-free-firmware\"."); v.LengthInt() == 0 {
			l.errorf(v.Range, fmt.Sprintf("archive %q has no component", a.Name), "Name at least one, such as [\"main\"].")
		}
	}
	for _, key := range l.matching(b, "signed_by", fingerprint, "a key's fingerprint", "Write its 40 hex digits without spaces, as `gpg --show-keys --with-fingerprint` knows it.") {
		a.SignedBy = append(a.SignedBy, strings.ToUpper(key))
	}
	if url, ok := b.Text("url"); ok && l.webAddress(url, b.At("url")) {
		a.URL = strings.TrimRight(url, "/")
	}
	if age, ok := b.Text("max_age"); ok {
		a.MaxAge = l.duration(age, b.At("max_age"))
	}
	if day, ok := b.Text("as_of"); ok {
		a.AsOf = day
		l.moment(day, "2006-01-02", "YYYY-MM-DD", b.At("as_of"))
	}
	if when, ok := b.Text("snapshot"); ok {
		a.Snapshot = when
		l.moment(when, "20060102T150405Z", "YYYYMMDDTHHMMSSZ", b.At("snapshot"))
	}
	a.Keyring = l.keyring(b)
	return a
}

func (l *loader) keyring(b *hclconf.Block) spec.Keyring {
	name, ok := b.Text("keyring")
	if !ok || !l.sourcePath(name, b.At("keyring")) {
		return spec.Keyring{}
	}
	at := b.At("keyring")
	data, err := hclconf.ReadFile(l.fsys, name, maxKeyring)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.errorf(at, fmt.Sprintf("keyring %q does not exist", name), "Put the public keys that sign this archive there, beside the templates; a Debian system has its own in /usr/share/keyrings/debian-archive-keyring.gpg.")
	case err != nil:
		l.errorf(at, fmt.Sprintf("keyring %q cannot be read", name), "Reading it gave: %s.", plainCause(err))
	case len(data) == 0:
		l.errorf(at, fmt.Sprintf("keyring %q is empty", name), "Without a key no signature could be accepted. Put the archive's public keys there.")
	case bytes.Contains(data, []byte("PRIVATE KEY BLOCK")):
		l.errorf(at, fmt.Sprintf("keyring %q holds a private key", name), "Only public keys belong there. Replace it with what `gpg --armor --export` gives, and regard the private key as exposed.")
	}
	sum := sha256.Sum256(data)
	return spec.Keyring{Path: name, SHA256: hex.EncodeToString(sum[:]), Data: data}
}

// sourcePath checks the relative path of a file in the directory.
func (l *loader) sourcePath(name string, at hcl.Range) bool {
	clean := path.Clean(name)
	switch {
	case strings.HasPrefix(name, "/") || strings.HasPrefix(clean, "../") || clean == "..":
		l.errorf(at, fmt.Sprintf("%q lies outside of the directory", name), "A template reads only files of its own directory. Copy the file there and name it by its relative path.")
	case !fs.ValidPath(name) || name == "." || !plain(name):
		l.errorf(at, fmt.Sprintf("%q is not a plain relative path", name), "Write it in its shortest form with slashes, such as %q.", strings.ToValidUTF8(clean, "?"))
	default:
		return true
	}
	return false
}

// source reads a file of the directory within the directory's budget.
func (l *loader) source(name string, at hcl.Range) []byte {
	if !l.sourcePath(name, at) {
		return nil
	}
	data, err := hclconf.ReadFile(l.fsys, name, min(maxSource, l.budget))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.errorf(at, fmt.Sprintf("file %q does not exist", name), "`source` names a file of the templates' directory.%s", l.nearFile(name))
	case err != nil:
		l.errorf(at, fmt.Sprintf("file %q cannot be read", name), "Reading it gave: %s. A source may have %d MiB, all of a directory %d MiB.", plainCause(err), maxSource>>20, maxSources>>20)
	}
	l.budget -= int64(len(data))
	return data
}

func (l *loader) nearFile(name string) string {
	dir := path.Dir(name)
	entries, err := fs.ReadDir(l.fsys, dir)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, path.Join(dir, e.Name()))
	}
	return hclconf.DidYouMean(name, names)
}

func plainCause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
