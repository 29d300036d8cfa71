package main

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"forge/internal/archive/archivetest"
)

func TestMirrorFaultsChangeNothing(t *testing.T) {
	answer := func(part string, serve func(s *site, w http.ResponseWriter, r *http.Request)) func(*site) archivetest.Hook {
		return func(s *site) archivetest.Hook {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, part) {
					return false
				}
				serve(s, w, r)
				return true
			}
		}
	}
	status := func(code int) func(*site, http.ResponseWriter, *http.Request) {
		return func(_ *site, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	content := func(change func([]byte) []byte) func(*site, http.ResponseWriter, *http.Request) {
		return func(s *site, w http.ResponseWriter, r *http.Request) {
			data := s.server.Files("test")[strings.TrimPrefix(r.URL.Path, "/test/")]
			archivetest.Respond(w, r, change(append([]byte(nil), data...)))
		}
	}
	flip := content(func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	cut := content(func(b []byte) []byte { return b[:len(b)/2] })
	tests := []struct {
		name  string
		fault func(*site) archivetest.Hook
		id    string // of the error
		build bool   // the build fails so too: it needs packages only
	}{
		{"package gone", answer("libhello_2.0-1_amd64.deb", status(404)), "FE210", true},
		{"package forbidden", answer("libhello_2.0-1_amd64.deb", status(403)), "FE202", true},
		{"package with another hash", answer("libhello_2.0-1_amd64.deb", flip), "FE206", true},
		{"package cut short", answer("libhello_2.0-1_amd64.deb", cut), "FE206 FE202", true},
		{"release unsigned", answer("InRelease", content(func([]byte) []byte { return []byte("Origin: Test\n") })), "FE203", false},
		{"release changed", answer("InRelease", content(func(b []byte) []byte {
			return []byte(strings.Replace(string(b), "Origin: Test", "Origin: Evil", 1))
		})), "FE203", false},
		{"index with another hash", answer("binary-amd64", flip), "FE206", false},
		{"everything gone", answer("", status(404)), "FE202 FE210", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.server.SetHook(tt.fault(s))
			s.refuses(1, tt.id, "lock", "family")
			s.server.SetHook(nil)
			s.must("lock", "family")
			if tt.build {
				s.check(os.RemoveAll(s.cached("")))
				s.server.SetHook(tt.fault(s))
				s.refuses(1, tt.id, "build", "family", "-o", "out")
				s.noLeftovers()
				s.server.SetHook(nil)
			}
			s.must("build", "family", "-o", "out")
		})
	}
}

func TestMirrorThatRecoversIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var failed atomic.Int32
	s.server.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, ".deb") || failed.Add(1) > 1 {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	s.must("lock", "family")
	if failed.Load() < 2 {
		t.Errorf("%d requests for packages, want the failed one again", failed.Load())
	}
}

// A bit that flips in any file of the cache is healed or noticed: it never reaches an
// image or a lock.
func TestDamagedCacheNeverMakesAnotherImage(t *testing.T) {
	t.Parallel()
	s := newSmallSite(t)
	s.must("lock", "family")
	want := s.must("build", "family", "-o", "out")
	first := s.state()
	var names []string
	for _, dir := range []string{"archive", "packages", "layers"} {
		s.check(filepath.WalkDir(s.cached(dir), func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				names = append(names, name)
			}
			return err
		}))
	}
	if len(names) < 10 {
		t.Fatalf("only %d files in the cache", len(names))
	}
	for _, name := range names {
		info, err := os.Stat(name)
		s.check(err)
		if info.Size() == 0 {
			continue
		}
		good, err := os.ReadFile(name)
		s.check(err)
		bad := append([]byte(nil), good...)
		bad[len(bad)/2] ^= 4
		s.check(os.RemoveAll(s.path("out")))
		rot(t, name, bad, info.ModTime())
		for _, args := range [][]string{{"lock", "--update", "family"}, {"build", "family", "-o", "out"}} {
			r := s.run(args...)
			if r.code != 0 && !strings.Contains(r.stderr, "forge: FE") {
				t.Errorf("%s damaged: forge %v: exit code %d without an id\n%s", name, args, r.code, r.stderr)
			}
			if r.code == 0 && args[0] == "build" && (r.stdout != want || s.state() != first) {
				t.Errorf("%s damaged: the build took it\n%s", name, r.stdout)
			}
		}
		rot(t, name, good, info.ModTime())
	}
	s.check(os.RemoveAll(s.path("out")))
	s.must("build", "family", "-o", "out")
	if s.state() != first {
		t.Error("after all damage was mended, the build differs")
	}
}

// rot changes a file in place as a failing disk does: nothing else shows it.
func rot(t *testing.T, name string, data []byte, modified time.Time) {
	t.Helper()
	if err := os.Chmod(name, 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// small puts a file system of so many bytes over a directory, and fills it.
func small(t *testing.T, dir, size string) (free func()) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, ".ballast")
	fill := func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}
	fill()
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDiskChangesNothing(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		testFileSizeLimit(t)
		return
	}
	t.Run("output", func(t *testing.T) {
		s := newSite(t)
		s.must("lock", "family")
		free := small(t, s.path("out"), "1m")
		s.refuses(1, "FE701", "build", "family", "-o", "out")
		s.refuses(1, "FE701", "build", "family", "-t", "base", "-o", "out/base.tar")
		free()
		s.must("build", "family", "-o", "out")
		s.must("inspect", "oci:out/hello")
	})
	t.Run("lock", func(t *testing.T) {
		s := newSite(t)
		templates, err := os.ReadFile(s.path("family/archive.asc"))
		s.check(err)
		s.check(os.Rename(s.path("family"), s.path("was")))
		free := small(t, s.path("family"), "1m")
		free()
		s.check(os.CopyFS(s.path("family"), os.DirFS(s.path("was"))))
		s.check(os.WriteFile(s.path("family/archive.asc"), templates, 0o644))
		s.must("lock", "family")
		s.check(s.publish("v2"))
		fillUp(t, s.path("family/zz"))
		s.refuses(1, "FE701", "lock", "--update", "family")
		s.check(os.Remove(s.path("family/zz")))
		s.must("lock", "--update", "family")
	})
	t.Run("cache", func(t *testing.T) {
		s := newSite(t)
		free := small(t, s.cached("archive"), "1m")
		s.refuses(1, "FE701", "lock", "family")
		free()
		s.must("lock", "family")
		s.must("engine", "status")
		free = small(t, s.cached("layers"), "1m")
		s.refuses(1, "FE701", "build", "family", "-o", "out")
		free()
		s.must("build", "family", "-o", "out")
	})
}

func fillUp(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
}

// testFileSizeLimit is a full disk for those who cannot mount one.
func testFileSizeLimit(t *testing.T) {
	s := newSite(t)
	cmd := exec.Command("sh", "-c", "ulimit -f 0; exec forge lock family")
	cmd.Dir, cmd.Env = s.dir, s.env
	before := s.state()
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "FE701") {
		t.Errorf("want FE701, got %v\n%s", err, out)
	}
	if s.state() != before {
		t.Error("the directory changed")
	}
	s.must("lock", "family")
}

func TestPlacesThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.check(os.WriteFile(s.path("file"), nil, 0o644))
	s.refuses(1, "FE701", "lock", "family", "--cache-dir", s.path("file/cache"))
	s.refuses(1, "FE701", "lock", "family", "--cache-dir", "/proc/forge")
	s.must("lock", "family")
	s.refuses(1, "FE701", "build", "family", "--cache-dir", "/proc/forge")
	s.refuses(2, "FE406", "build", "family", "-t", "base", "-o", "file")
	s.refuses(1, "FE701", "build", "family", "-o", "/proc/forge/out")
	s.refuses(1, "FE701", "keys", "generate", "-o", "/proc/forge")
}
