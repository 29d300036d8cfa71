// Package lock pins a spec to digests: every package of every image and platform, the
// signed release and index files they were chosen from, and what a build gave.
//
// A lock never names a mirror's host: it works with every mirror of its archives.
package lock

import "forge/internal/spec"

// Versions that a lock states and a build must understand.
const (
	FormatVersion = 1
	LayoutVersion = 1 // how packages become layers; see internal/README.md
	FileName      = "forge.lock.json"
)

// File pins everything that the images of one directory are made from. A File given
// by Read is complete and sorted.
type File struct {
	Version   int               `json:"version"` // FormatVersion
	Layout    int               `json:"layout"`  // LayoutVersion
	Variables map[string]string `json:"variables,omitempty"`
	Releases  []Release         `json:"releases"` // by archive, suite
	Images    []Image           `json:"images"`   // by name, platform
	Expected  []Expected        `json:"expected,omitempty"`
}

// Release is the signed release file of one suite, and the index files it vouches for.
type Release struct {
	Archive     string  `json:"archive"` // name in the templates
	Suite       string  `json:"suite"`   // as asked for in the template
	Origin      string  `json:"origin,omitempty"`
	Label       string  `json:"label,omitempty"`
	Codename    string  `json:"codename,omitempty"`
	Version     string  `json:"version,omitempty"` // point release, "13.7"
	Date        string  `json:"date"`              // RFC 3339, UTC
	ValidUntil  string  `json:"valid_until,omitempty"`
	AsOf        string  `json:"as_of,omitempty"`
	Snapshot    string  `json:"snapshot,omitempty"`
	SHA256      string  `json:"sha256"`      // of InRelease, whole
	Fingerprint string  `json:"fingerprint"` // primary key whose signature was accepted
	Indexes     []Index `json:"indexes"`     // by path
}

// Index is one package index of a release.
type Index struct {
	Path   string `json:"path"` // as in the release file, of the uncompressed file: "main/binary-amd64/Packages"
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // of the uncompressed file
}

// Image pins one template on one platform.
type Image struct {
	Name     string    `json:"name"`
	Platform string    `json:"platform"`
	Spec     string    `json:"spec"` // spec.ImageDigest when locked
	Parent   string    `json:"parent,omitempty"`
	Created  string    `json:"created"` // RFC 3339: the newest date in a package, own or inherited
	Groups   int       `json:"groups"`  // package layers of this image
	Drops    []Drop    `json:"drops,omitempty"`
	Restore  []Restore `json:"restore,omitempty"`
	Packages []Package `json:"packages"` // own only, by name; the parent's are in the parent's entry
}

// Restore states a directory's attributes again, because packages disagree about them.
type Restore = spec.Directory

// Drop says that one package's file is not laid out, because another package of the
// image (or of its parent) declares to replace it (Debian policy 7.6).
type Drop struct {
	Package string `json:"package"`
	Path    string `json:"path"` // absolute
}

// Package pins one package.
type Package struct {
	Name          string `json:"name"`
	Version       string `json:"version"`
	Arch          string `json:"arch"` // "amd64", "arm64" or "all"
	Source        string `json:"source"`
	SourceVersion string `json:"source_version"`
	Archive       string `json:"archive"`
	Suite         string `json:"suite"`
	Path          string `json:"path"` // in the archive's pool
	Size          int64  `json:"size"`
	SHA256        string `json:"sha256"`
	Reason        string `json:"reason"` // "requested", or "libc6 depends on it" style, see Why
}

// Expected is what a recorded build gave; it is outside the lock's own digest.
type Expected struct {
	Name     string   `json:"name"`
	Platform string   `json:"platform"` // "" for the index over all platforms
	Manifest string   `json:"manifest"` // "sha256:..."
	DiffIDs  []string `json:"diff_ids,omitempty"`
}
