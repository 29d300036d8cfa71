// Package spec says what an image is: a template evaluated, as plain data.
//
// A Set read from a directory is complete: every reference is resolved, every list
// that has no meaning in its order is sorted, every file carries the digest of its
// content. The package uses only the standard library, so that anything may import it.
package spec

// Set is a directory of templates, evaluated.
type Set struct {
	Variables map[string]string `json:"variables,omitempty"` // values used, each as JSON
	Archives  []Archive         `json:"archives"`            // sorted by name
	Scripts   []Script          `json:"scripts,omitempty"`   // the directory's own script-effect records
	Images    []Image           `json:"images"`              // parents before children, then by name
}

// Archive is a package repository and what makes it trusted.
type Archive struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"` // "deb"
	Suites     []string `json:"suites"`
	Components []string `json:"components"`
	Keyring    Keyring  `json:"keyring"`
	SignedBy   []string `json:"signed_by,omitempty"` // fingerprints of the only keys accepted; FPR! means exactly that key, not its subkeys
	URL        string   `json:"url,omitempty"`       // root of an in-house archive; a mirror found at run time goes before it
	MaxAge     string   `json:"max_age,omitempty"`   // Go duration; bounds a suite without Valid-Until
	AsOf       string   `json:"as_of,omitempty"`     // YYYY-MM-DD: Valid-Until is judged as of that day
	Snapshot   string   `json:"snapshot,omitempty"`  // YYYYMMDDTHHMMSSZ: indexes and packages of that moment
}

// Keyring is the set of OpenPGP public keys an archive may be signed with.
type Keyring struct {
	Path   string `json:"path"` // relative to the templates' directory
	SHA256 string `json:"sha256"`
	Data   []byte `json:"-"`
}

// Script is a script-effect record: what a maintainer script would have done and the
// image needs, declared because the script itself never runs.
type Script struct {
	Package string   `json:"package"`
	Script  string   `json:"script"` // preinst, postinst, prerm, postrm, triggers, config
	SHA256  string   `json:"sha256"` // of the script's bytes
	Effects []Effect `json:"effects"`
	Why     string   `json:"why"`
}

// Effect is one declared consequence of a script. Which fields count depends on Op.
type Effect struct {
	Op       string `json:"op"`                 // one of the ops that package rootfs lists
	Path     string `json:"path,omitempty"`     // absolute path in the image
	Target   string `json:"target,omitempty"`   // link target or the file copied from
	Content  string `json:"content,omitempty"`  // file content
	Mode     string `json:"mode,omitempty"`     // octal, "0755"
	Owner    string `json:"owner,omitempty"`    // "uid:gid"
	Priority int    `json:"priority,omitempty"` // of an alternative
}

// Image is one template, evaluated. Users, groups and config are whole (the parent's
// and its own together); packages, files, directories and symlinks are its own only,
// since the parent's are in the parent's layers.
type Image struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"`
	Version     string      `json:"version"`
	Parent      string      `json:"parent,omitempty"` // name of the template it extends
	Platforms   []string    `json:"platforms"`        // "linux/amd64", sorted
	Compression string      `json:"compression"`      // "zstd" or "gzip"
	Packages    Packages    `json:"packages"`
	Users       []User      `json:"users"`       // by uid
	Groups      []Group     `json:"groups"`      // by gid
	Files       []File      `json:"files"`       // by path
	Directories []Directory `json:"directories"` // by path
	Symlinks    []Symlink   `json:"symlinks"`    // by path
	Config      Config      `json:"config"`
}

// Packages is what an image asks of the archives.
type Packages struct {
	Archives []string          `json:"archives"`          // names, in order of preference
	Install  []string          `json:"install"`           // "name" or "name=version", sorted
	Resolve  bool              `json:"resolve"`           // false: exactly these
	Exclude  map[string]string `json:"exclude,omitempty"` // dependency dropped -> reason
	Prune    []string          `json:"prune,omitempty"`   // named path sets, sorted
}

// User is one line of /etc/passwd.
type User struct {
	Name  string `json:"name"`
	UID   int    `json:"uid"`
	GID   int    `json:"gid"`
	Gecos string `json:"gecos,omitempty"`
	Home  string `json:"home"`
	Shell string `json:"shell"`
}

// Group is one line of /etc/group.
type Group struct {
	Name    string   `json:"name"`
	GID     int      `json:"gid"`
	Members []string `json:"members,omitempty"` // sorted
}

// File is a regular file that the template adds.
type File struct {
	Path    string `json:"path"`
	Mode    string `json:"mode"` // octal, "0644"
	UID     int    `json:"uid"`
	GID     int    `json:"gid"`
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size,omitempty"` // 0 where a URL's size is not known yet
	URL     string `json:"url,omitempty"`
	Replace bool   `json:"replace,omitempty"` // takes the place of a package's or parent's file
	Content []byte `json:"-"`                 // nil where URL is set
}

// Directory is a directory that the template adds or whose attributes it sets.
type Directory struct {
	Path string `json:"path"`
	Mode string `json:"mode"` // octal, "1777"
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
}

// Symlink is a symbolic link that the template adds.
type Symlink struct {
	Path    string `json:"path"`
	Target  string `json:"target"`
	Replace bool   `json:"replace,omitempty"`
}

// Config is the part of the OCI image config that a template sets (OCI image-spec
// config.md, "config").
type Config struct {
	User       string            `json:"user,omitempty"` // numeric "uid" or "uid:gid"
	Workdir    string            `json:"workdir,omitempty"`
	Env        map[string]string `json:"env,omitempty"`
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Ports      []string          `json:"ports,omitempty"` // "8080/tcp", sorted
	Volumes    []string          `json:"volumes,omitempty"`
	StopSignal string            `json:"stop_signal,omitempty"`
}
