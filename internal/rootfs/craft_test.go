package rootfs

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

// shipped is one entry of a test package: "dir/" is a directory, "a -> b" a symbolic
// link, "a => b" a hard link, anything else a file of that content.
type shipped struct {
	path, content string
	mode          int64
}

func packageOf(t *testing.T, name string, control map[string]string, data ...shipped) []byte {
	t.Helper()
	meta := []shipped{{path: "control", content: fmt.Sprintf("Package: %s\nVersion: 1.0-1\nArchitecture: all\n", name)}}
	for _, file := range []string{"conffiles", "md5sums", "postinst"} {
		if text, ok := control[file]; ok {
			meta = append(meta, shipped{path: file, content: text})
		}
	}
	b := bytes.NewBufferString("!<arch>\n")
	for _, m := range []struct {
		name string
		body []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", testTar(t, meta)}, {"data.tar", testTar(t, data)}} {
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.body))
		b.Write(m.body)
		if len(m.body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func testTar(t *testing.T, entries []shipped) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: "./" + e.path, Typeflag: tar.TypeReg, Mode: e.mode, Size: int64(len(e.content)), ModTime: time.Unix(1700000000, 0), Format: tar.FormatGNU}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if from, to, ok := strings.Cut(e.path, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = "./"+from, to, tar.TypeSymlink
		} else if from, to, ok := strings.Cut(e.path, " => "); ok {
			h.Name, h.Linkname, h.Typeflag = "./"+from, "./"+to, tar.TypeLink
		} else if strings.HasSuffix(e.path, "/") {
			h.Typeflag = tar.TypeDir
			if e.mode == 0 {
				h.Mode = 0o755
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// store is the inputs of a test, by digest.
type store map[string][]byte

func (s store) add(data []byte) string {
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	s[name] = data
	return name
}

func (s store) open(name string) (Input, error) {
	data, ok := s[name]
	if !ok {
		return nil, fmt.Errorf("no input %s", name)
	}
	return memory{bytes.NewReader(data)}, nil
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// plan adds packages to the store and makes a plan of them.
func (s store) plan(t *testing.T, packages map[string][]byte) *Plan {
	t.Helper()
	p := &Plan{Version: PlanVersion}
	for name, data := range packages {
		p.Packages = append(p.Packages, PlanPackage{Name: name, Arch: "all", SHA256: s.add(data)})
	}
	return p
}

// show is a layer as text, one path a line, for comparison.
func show(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s %04o %d:%d", e.Path, e.Type, uint32(e.Mode), e.UID, e.GID)
		if e.Target != "" {
			fmt.Fprintf(&b, " -> %s", e.Target)
		}
		fmt.Fprintf(&b, " (%s)\n", e.Origin)
	}
	return b.String()
}

func find(t *testing.T, entries []Entry, path string) Entry {
	t.Helper()
	for _, e := range entries {
		if e.Path == path {
			return e
		}
	}
	t.Fatalf("no %s in:\n%s", path, show(entries))
	return Entry{}
}

func has(entries []Entry, path string) bool {
	for _, e := range entries {
		if e.Path == path {
			return true
		}
	}
	return false
}
