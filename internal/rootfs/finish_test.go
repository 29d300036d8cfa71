package rootfs

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"forge/internal/diag"
	"forge/internal/spec"
)

// lower is a layer below, as the tests of finish layers have it.
func lower(t *testing.T, in store, data ...shipped) *DiskBelow {
	t.Helper()
	_, dir := lay(t, in.plan(t, map[string][]byte{"lower": packageOf(t, "lower", nil, data...)}), in, nil, 1)
	b, err := OpenBelow([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func certificateOf(text string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}))
}

func TestFinishLayer(t *testing.T) {
	in := store{}
	below := lower(t, in,
		shipped{path: "etc/", mode: 0o711}, shipped{path: "tmp/", mode: 0o1777}, shipped{path: "root/", mode: 0o700},
		shipped{path: "etc/group", content: "old:x:77:\nwheel:x:0:\n"},
		shipped{path: "usr/bin/mawk", content: "m"}, shipped{path: "usr/share/defaults/conf", content: "c"},
		shipped{path: "etc/kept", content: "k"}, shipped{path: "etc/tool.conf", content: "t"},
		shipped{path: "usr/share/ca-certificates/b.crt", content: strings.TrimSpace(certificateOf("b"))},
		shipped{path: "usr/share/ca-certificates/m/a.crt", content: certificateOf("a")},
		shipped{path: "usr/share/ca-certificates/README", content: "no certificate"})
	plan := &Plan{Version: PlanVersion, Finish: &Finish{
		Users: []spec.User{
			{Name: "app", UID: 1000, GID: 1000, Home: "/home/app", Shell: "/usr/sbin/nologin"},
			{Name: "root", Home: "/root", Shell: "/usr/sbin/nologin"},
			{Name: "nobody", UID: 65534, GID: 65534, Home: "/nonexistent", Shell: "/usr/sbin/nologin"},
		},
		Groups:      []spec.Group{{Name: "root"}, {Name: "app", GID: 1000, Members: []string{"app", "root"}}},
		Files:       []spec.File{{Path: "/bin/entry", Mode: "0755", SHA256: in.add([]byte("run"))}},
		Directories: []spec.Directory{{Path: "/var/lib/app", Mode: "0750", UID: 1000, GID: 1000}},
		Symlinks:    []spec.Symlink{{Path: "/etc/app", Target: "/var/lib/app"}},
		Restore:     []spec.Directory{{Path: "/tmp", Mode: "1777"}},
		Effects: []spec.Effect{
			{Op: "none"},
			{Op: "ca-bundle"},
			{Op: "alternative", Path: "/usr/bin/awk", Target: "/usr/bin/mawk", Priority: 5},
			{Op: "alternative", Path: "/usr/bin/awk", Target: "/usr/bin/gawk", Priority: 10},
			{Op: "symlink", Path: "/etc/kept", Target: "elsewhere"},
			{Op: "file", Path: "/etc/new", Content: "text", Mode: "0600", Owner: "1:2"},
			{Op: "copy", Path: "/etc/conf", Target: "/usr/share/defaults/conf"},
			{Op: "line", Path: "/etc/shells", Content: "/bin/sh"},
			{Op: "line", Path: "/etc/shells", Content: "/bin/bash"},
			{Op: "line", Path: "/etc/shells", Content: "/bin/sh"},
			{Op: "user", Target: "daemon", Owner: "50:51", Path: "/run/d"},
			{Op: "group", Target: "extra", Owner: "0:52"},
			{Op: "attributes", Path: "/etc/tool.conf", Mode: "0640", Owner: "50:51"},
			{Op: "directory", Path: "/etc", Mode: "0755"},
		},
	}}
	entries, dir := lay(t, plan, in, below, 1)
	want := `/etc dir 0755 0:0 (effect:directory)
/etc/alternatives dir 0755 0:0 (parent)
/etc/alternatives/awk symlink 0777 0:0 -> /usr/bin/gawk (effect:alternative)
/etc/app symlink 0777 0:0 -> /var/lib/app (template)
/etc/conf file 0644 0:0 (effect:copy)
/etc/group file 0644 0:0 (accounts)
/etc/new file 0600 1:2 (effect:file)
/etc/passwd file 0644 0:0 (accounts)
/etc/shells file 0644 0:0 (effect:line)
/etc/ssl dir 0755 0:0 (parent)
/etc/ssl/certs dir 0755 0:0 (parent)
/etc/ssl/certs/ca-certificates.crt file 0644 0:0 (effect:ca-bundle)
/etc/tool.conf file 0640 50:51 (effect:attributes)
/home dir 0755 0:0 (parent)
/home/app dir 0700 1000:1000 (accounts)
/tmp dir 1777 0:0 (restore)
/usr dir 0755 0:0 (parent)
/usr/bin dir 0755 0:0 (parent)
/usr/bin/awk symlink 0777 0:0 -> /etc/alternatives/awk (effect:alternative)
/usr/bin/entry file 0755 0:0 (template)
/var dir 0755 0:0 (parent)
/var/lib dir 0755 0:0 (parent)
/var/lib/app dir 0750 1000:1000 (template)
`
	if d := cmp.Diff(want, show(entries)); d != "" {
		t.Errorf("finish layer differs (-want +got):\n%s", d)
	}
	for path, want := range map[string]string{
		"/etc/passwd": "root:x:0:0::/root:/usr/sbin/nologin\ndaemon:x:50:51::/run/d:/usr/sbin/nologin\n" +
			"app:x:1000:1000::/home/app:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
		"/etc/group":                         "root:x:0:\ndaemon:x:51:\nextra:x:52:\nold:x:77:\napp:x:1000:app,root\n",
		"/etc/shells":                        "/bin/sh\n/bin/bash\n",
		"/etc/conf":                          "c",
		"/usr/bin/entry":                     "run",
		"/etc/ssl/certs/ca-certificates.crt": certificateOf("b") + certificateOf("a"),
	} {
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestFinishCopiesAttributesOfImpliedParents(t *testing.T) {
	in := store{}
	below := lower(t, in, shipped{path: "srv/", mode: 0o1777}, shipped{path: "srv/x/", mode: 0o710})
	plan := &Plan{Version: PlanVersion, Finish: &Finish{Files: []spec.File{{Path: "/srv/x/f", Mode: "0644", SHA256: in.add(nil)}}}}
	entries, _ := lay(t, plan, in, below, 1)
	if got := find(t, entries, "/srv").Mode; got != 0o1777 {
		t.Errorf("/srv has the mode %o, want the lower layer's", uint32(got))
	}
	if got := find(t, entries, "/srv/x").Mode; got != 0o710 {
		t.Errorf("/srv/x has the mode %o, want the lower layer's", uint32(got))
	}
}

func TestFinishRefuses(t *testing.T) {
	in := store{}
	content := in.add([]byte("new"))
	below := lower(t, in, shipped{path: "etc/f", content: "old"}, shipped{path: "etc/d/"}, shipped{path: "var/run -> /run"})
	for _, c := range []struct {
		name   string
		finish Finish
		want   diag.ID
	}{
		{"file over a package's", Finish{Files: []spec.File{{Path: "/etc/f", Mode: "0644", SHA256: content}}}, diag.FileConflict},
		{"file over a package's that it replaces", Finish{Files: []spec.File{{Path: "/etc/f", Mode: "0644", SHA256: content, Replace: true}}}, ""},
		{"link over a package's file", Finish{Symlinks: []spec.Symlink{{Path: "/etc/f", Target: "x"}}}, diag.FileConflict},
		{"file over a directory", Finish{Files: []spec.File{{Path: "/etc/d", Mode: "0644", SHA256: content, Replace: true}}}, diag.FileConflict},
		{"directory over a file", Finish{Directories: []spec.Directory{{Path: "/etc/f", Mode: "0755"}}}, diag.FileConflict},
		{"directory over a directory", Finish{Directories: []spec.Directory{{Path: "/etc/d", Mode: "0700"}}}, ""},
		{"file through a link", Finish{Files: []spec.File{{Path: "/var/run/f", Mode: "0644", SHA256: content}}}, diag.FileConflict},
		{"file through an own link", Finish{Symlinks: []spec.Symlink{{Path: "/a", Target: "/etc"}}, Files: []spec.File{{Path: "/a/f", Mode: "0644", SHA256: content}}}, diag.FileConflict},
		{"file in place of a usr-merge link", Finish{Files: []spec.File{{Path: "/bin", Mode: "0644", SHA256: content}}}, diag.FileConflict},
		{"path that climbs out", Finish{Files: []spec.File{{Path: "/../f", Mode: "0644", SHA256: content}}}, diag.InvalidTemplate},
		{"relative path", Finish{Symlinks: []spec.Symlink{{Path: "f", Target: "x"}}}, diag.InvalidTemplate},
		{"effect that climbs out", Finish{Effects: []spec.Effect{{Op: "file", Path: "/etc/../../f"}}}, diag.InvalidTemplate},
	} {
		_, err := Lay(&Plan{Version: PlanVersion, Finish: &c.finish}, in.open, below, nothing{}, 1)
		if diag.IDOf(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: error %v, want id %q", c.name, err, c.want)
		}
	}
}

func TestFinishDemandsTheMergedRoot(t *testing.T) {
	in := store{}
	for _, c := range []struct {
		name string
		data []shipped
		want diag.ID
	}{
		{"loader without link", []shipped{{path: "lib64/ld-linux-x86-64.so.2"}}, diag.MissingMerge},
		{"shell without link", []shipped{{path: "bin/sh -> dash"}}, diag.MissingMerge},
		{"loader with link", []shipped{{path: "lib64 -> usr/lib64"}, {path: "usr/lib64/ld-linux-x86-64.so.2"}}, ""},
	} {
		_, err := Lay(&Plan{Version: PlanVersion, Finish: &Finish{}}, in.open, lower(t, in, c.data...), nothing{}, 1)
		if diag.IDOf(err) != c.want {
			t.Errorf("%s: error %v, want id %q", c.name, err, c.want)
		}
	}
}

func TestLocalCertificateRenewsTheParentsBundle(t *testing.T) {
	in := store{}
	below := lower(t, in, shipped{path: "usr/share/ca-certificates/a.crt", content: certificateOf("a")},
		shipped{path: "etc/ssl/certs/ca-certificates.crt", content: certificateOf("a")})
	plan := &Plan{Version: PlanVersion, Finish: &Finish{Files: []spec.File{
		{Path: "/usr/local/share/ca-certificates/own.crt", Mode: "0644", SHA256: in.add([]byte(certificateOf("own")))},
	}}}
	_, dir := lay(t, plan, in, below, 1)
	got, err := os.ReadFile(filepath.Join(dir, caBundle))
	if want := certificateOf("a") + certificateOf("own"); err != nil || string(got) != want {
		t.Errorf("bundle = %q, %v, want both certificates", got, err)
	}
}

func TestJavaStore(t *testing.T) {
	in := store{}
	below := lower(t, in, shipped{path: "usr/share/ca-certificates/m/A.crt", content: certificateOf("a")})
	plan := &Plan{Version: PlanVersion, Finish: &Finish{Effects: []spec.Effect{{Op: "java-cacerts"}}}}
	_, dir := lay(t, plan, in, below, 1)
	got, err := os.ReadFile(filepath.Join(dir, javaStore))
	if err != nil {
		t.Fatal(err)
	}
	want := "\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02\x00\x0cdebian:a.pem\x00\x00\x00\x49\x77\x38\x70\x00\x00\x05X.509\x00\x00\x00\x01a"
	if !bytes.HasPrefix(got, []byte(want)) || len(got) != len(want)+20 {
		t.Errorf("store = %q\nwant %q and a digest", got, want)
	}
}

func TestDiskAndMemoryBelowAgree(t *testing.T) {
	in := store{}
	data := []shipped{{path: "a/f", content: "x"}, {path: "a/l -> f"}, {path: "a/d/g", content: "y"}, {path: "b/", mode: 0o700}}
	plan := in.plan(t, map[string][]byte{"lower": packageOf(t, "lower", nil, data...)})
	entries, dir := lay(t, plan, in, nil, 1)
	disk, err := OpenBelow([]string{t.TempDir(), dir})
	if err != nil {
		t.Fatal(err)
	}
	mem := NewMemory([][]Entry{entries}, func(e Entry) ([]byte, error) { return os.ReadFile(filepath.Join(dir, e.Path)) })
	for _, path := range []string{"/a", "/a/f", "/a/l", "/a/l/x", "/a/none", "/b", "/none/x"} {
		d, dok, derr := disk.Lookup(path)
		m, mok, merr := mem.Lookup(path)
		if dok != mok || derr != nil || merr != nil || d.Type != m.Type || d.Mode != m.Mode || d.Target != m.Target {
			t.Errorf("Lookup(%s): disk %+v %v %v, memory %+v %v %v", path, d, dok, derr, m, mok, merr)
		}
	}
	du, derr := disk.Under("/a")
	mu, merr := mem.Under("/a")
	if derr != nil || merr != nil || len(du) != 3 || len(mu) != 3 {
		t.Errorf("Under(/a): disk %v %v, memory %v %v", du, derr, mu, merr)
	}
	for _, b := range []Below{disk, mem} {
		if got, err := b.Read("/a/d/g"); err != nil || string(got) != "y" {
			t.Errorf("Read = %q, %v", got, err)
		}
		for _, path := range []string{"/a/l", "/a", "/none"} {
			if _, err := b.Read(path); err == nil {
				t.Errorf("Read(%s) was accepted", path)
			}
		}
	}
}
