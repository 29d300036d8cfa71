package rootfs

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"forge/internal/spec"
)

// Types of an Entry.
const (
	TypeFile      = "file"
	TypeDirectory = "dir"
	TypeSymlink   = "symlink"
	TypeHardlink  = "hardlink"
)

// GeneratedTime is the modification time of every directory and of every file that no
// package ships: 1980-01-01 UTC in seconds since 1970, the oldest that zip can hold.
const GeneratedTime = 315532800

// Mode is a file's permission bits, 07777; in JSON it is an octal string.
type Mode uint32

// MarshalText gives "0755".
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// UnmarshalText reads what MarshalText gives.
func (m *Mode) UnmarshalText(b []byte) error {
	n, err := parseMode(string(b))
	*m = n
	return err
}

// Entry is one path of a layer: everything about it but the bytes. Written one a line
// as JSON, sorted by path, entries are a layer's inventory.
type Entry struct {
	Path     string `json:"path"` // absolute: "/usr/bin/curl"
	Type     string `json:"type"`
	Mode     Mode   `json:"mode"`
	UID      int    `json:"uid"`
	GID      int    `json:"gid"`
	MTime    int64  `json:"mtime"` // seconds since 1970
	Size     int64  `json:"size,omitempty"`
	SHA256   string `json:"sha256,omitempty"`   // of a file's or hardlink's content
	Target   string `json:"target,omitempty"`   // of a symlink, as it is; of a hardlink, absolute
	Origin   string `json:"origin"`             // package name, or the step: "template", "accounts", "effect:symlink", "parent"
	Stripped string `json:"stripped,omitempty"` // the mode as shipped, where setuid, setgid or sticky bits were taken off a file
}

// WriteInventory writes entries as JSON lines.
func WriteInventory(w io.Writer, entries []Entry) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	return b.Flush()
}

// ReadInventory reads what WriteInventory writes.
func ReadInventory(r io.Reader) ([]Entry, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	var list []Entry
	for {
		var e Entry
		if err := d.Decode(&e); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading inventory line %d: %w", len(list)+1, err)
		}
		list = append(list, e)
	}
}

func sortEntries(list []Entry) {
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
}

// directory makes a directory's entry.
func directory(path string, mode Mode, uid, gid int, origin string) Entry {
	return Entry{Path: path, Type: TypeDirectory, Mode: mode, UID: uid, GID: gid, MTime: GeneratedTime, Origin: origin}
}

// directoryOf is the entry of a directory that a template or plan states.
func directoryOf(d spec.Directory, origin string) (Entry, error) {
	mode, err := parseMode(d.Mode)
	return directory(d.Path, mode, d.UID, d.GID, origin), err
}

// parent is the directory that holds path; "/" for a path at the top.
func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func parseMode(s string) (Mode, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o7777 {
		return 0, fmt.Errorf("mode %q is not octal permission bits", s)
	}
	return Mode(n), nil
}

// parseOwner reads "uid:gid"; an empty text is root's.
func parseOwner(s string) (uid, gid int, err error) {
	if s == "" {
		return 0, 0, nil
	}
	u, g, ok := strings.Cut(s, ":")
	uid64, errU := strconv.ParseUint(u, 10, 31)
	gid64, errG := strconv.ParseUint(g, 10, 31)
	if !ok || errU != nil || errG != nil {
		return 0, 0, fmt.Errorf("owner %q is not \"uid:gid\"", s)
	}
	return int(uid64), int(gid64), nil
}
