// Package mirror finds where an archive is, when forge runs.
//
// No template and no lock names a mirror's host: the same lock works with every mirror.
package mirror

import (
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"forge/internal/diag"
	"forge/internal/spec"
)

// snapshotService is the public service that keeps every state of Debian's archives.
const snapshotService = "https://snapshot.debian.org"

// Options are the places where mirrors may be named, best first. All may be empty.
type Options struct {
	Env      string              // value of FORGE_DEB_MIRROR: "debian=URL[,URL...] debian-security=URL"
	Config   map[string][]string // the user's configuration: archive name -> roots
	Apt      fs.FS               // a machine's /etc/apt
	Snapshot string              // root of the snapshot service; empty means the public one
}

// Table knows the roots of archives.
type Table struct {
	env, config, apt map[string][]string
	snapshot         string
}

// Load reads the places. A fault in what the user wrote is a diag.Usage error; apt
// sources that do not parse are apt's own concern and are passed over.
func Load(o Options) (Table, error) {
	t := Table{config: map[string][]string{}, snapshot: snapshotService}
	var err error
	if t.env, err = parseEnv(o.Env); err != nil {
		return Table{}, err
	}
	for name, roots := range o.Config {
		for _, r := range roots {
			root, err := parseRoot(r)
			if err != nil {
				return Table{}, diag.Errorf(diag.Usage, "", "reading the configured mirrors of %q: %w", name, err)
			}
			t.config[name] = append(t.config[name], root)
		}
	}
	if o.Snapshot != "" {
		if t.snapshot, err = parseRoot(o.Snapshot); err != nil {
			return Table{}, diag.Errorf(diag.Usage, "", "reading the snapshot service's address: %w", err)
		}
	}
	if o.Apt != nil {
		t.apt = machineSources(o.Apt)
	}
	return t, nil
}

// Roots gives the addresses of an archive, in the order to try them, without a slash
// at the end. The first place that names the archive decides; an archive pinned to a
// snapshot comes from the snapshot service alone.
func (t Table) Roots(a spec.Archive) ([]string, error) {
	if a.Snapshot != "" {
		return []string{t.SnapshotRoot(a.Name, a.Snapshot)}, nil
	}
	for _, place := range []map[string][]string{t.env, t.config} {
		if roots := place[a.Name]; len(roots) > 0 {
			return roots, nil
		}
	}
	if a.URL != "" {
		root, err := parseRoot(a.URL)
		if err != nil {
			return nil, diag.Errorf(diag.InvalidTemplate, "", "reading the url of archive %q: %w", a.Name, err)
		}
		return []string{root}, nil
	}
	if roots := t.apt[a.Name]; len(roots) > 0 {
		return roots, nil
	}
	return nil, diag.Errorf(diag.NoMirror, fmt.Sprintf("Set FORGE_DEB_MIRROR=%q.", a.Name+"=URL"), "no mirror is known for archive %q", a.Name)
}

// SnapshotRoot is where the snapshot service has an archive as it was at a moment,
// written YYYYMMDDTHHMMSSZ.
func (t Table) SnapshotRoot(archive, moment string) string {
	return t.snapshot + "/archive/" + url.PathEscape(archive) + "/" + url.PathEscape(moment)
}

// HasSnapshots tells whether the snapshot service may know an archive. The public
// service is not asked about in-house archives: it does not have them, and what they
// hold is nobody else's business.
func (t Table) HasSnapshots(a spec.Archive) bool {
	if t.snapshot != snapshotService {
		return true
	}
	return a.URL == "" && (a.Name == "debian" || strings.HasPrefix(a.Name, "debian-"))
}

func parseEnv(value string) (map[string][]string, error) {
	t := map[string][]string{}
	for _, word := range strings.Fields(value) {
		name, list, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return nil, diag.Errorf(diag.Usage, `Write FORGE_DEB_MIRROR="NAME=URL[,URL...] ...".`, "reading FORGE_DEB_MIRROR: a word is not of the form NAME=URL")
		}
		for r := range strings.SplitSeq(list, ",") {
			root, err := parseRoot(r)
			if err != nil {
				return nil, diag.Errorf(diag.Usage, `Write FORGE_DEB_MIRROR="NAME=URL[,URL...] ...".`, "reading FORGE_DEB_MIRROR for %q: %w", name, err)
			}
			t[name] = append(t[name], root)
		}
	}
	return t, nil
}

// parseRoot checks an address; its errors do not repeat it, since it may hold a password.
func parseRoot(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "", fmt.Errorf("the URL is malformed")
	case u.Scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path)):
		return "", fmt.Errorf("a file URL must be file:///absolute/path")
	case u.Scheme != "file" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == ""):
		return "", fmt.Errorf("the URL must begin with http://, https:// or file:///")
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("the URL must have no query and no fragment")
	}
	return strings.TrimRight(raw, "/"), nil
}

// machineSources reads apt's sources; an archive's name is the last element of its
// address's path.
func machineSources(apt fs.FS) map[string][]string {
	files := []string{"sources.list"}
	more, err := fs.Glob(apt, "sources.list.d/*")
	if err == nil {
		files = append(files, more...)
	}
	t := map[string][]string{}
	for _, name := range files {
		data, err := fs.ReadFile(apt, name)
		if err != nil || len(data) > maxSources {
			continue
		}
		var uris []string
		switch path.Ext(name) {
		case ".list":
			uris = parseList(string(data))
		case ".sources":
			uris = parseDeb822(string(data))
		}
		for _, uri := range uris {
			root, err := parseRoot(uri)
			if err != nil {
				continue
			}
			if archive := path.Base(root); !slices.Contains(t[archive], root) {
				t[archive] = append(t[archive], root)
			}
		}
	}
	return t
}
