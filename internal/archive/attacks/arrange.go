package attacks

import (
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"forge/internal/archive/archivetest"
)

// text is the signed text of an InRelease, without its signature.
func text(inRelease []byte) []byte {
	_, t, _ := strings.Cut(string(inRelease), "\n\n")
	t, _, _ = strings.Cut(t, "-----BEGIN PGP SIGNATURE-----")
	return []byte(t)
}

func swap(old, new string) func(*world) {
	return func(w *world) {
		w.files[inRelease] = []byte(strings.Replace(string(w.files[inRelease]), old, new, 1))
	}
}

func replaceSignature(body string) func(*world) {
	return func(w *world) {
		head, _, _ := strings.Cut(string(w.files[inRelease]), "-----BEGIN PGP SIGNATURE-----")
		w.files[inRelease] = []byte(head + "-----BEGIN PGP SIGNATURE-----\n" + body + "-----END PGP SIGNATURE-----\n")
	}
}

// repack signs a release whose packed index unpacks to something else than its plain
// one; every hash of the packed file is right.
func repack(f func(plain []byte) []byte) func(*world) {
	return rewrap(func(plain []byte) []byte { return archivetest.XZ(f(plain)) })
}

func rewrap(f func(plain []byte) []byte) func(*world) {
	return func(w *world) {
		extra := archivetest.Files{}
		w.release(func(s *archivetest.Suite) {
			plain := map[string]string{}
			s.EditIndex = func(name, t string) string { plain[name] = t; return t }
			s.EditRelease = func(t string) string {
				for name, p := range plain {
					packed := f([]byte(p))
					old := archivetest.XZ([]byte(p))
					t = strings.Replace(t, fmt.Sprintf(" %s %d %s.xz", archivetest.SHA256(old), len(old), name),
						fmt.Sprintf(" %s %d %s.xz", archivetest.SHA256(packed), len(packed), name), 1)
					extra[path.Join("dists/trixie", name+".xz")] = packed
				}
				return t
			}
		})
		for name, data := range extra {
			w.files[name] = data
		}
	}
}

// once answers the first request by h.
func once(h archivetest.Hook) archivetest.Hook {
	var first sync.Once
	return func(w http.ResponseWriter, r *http.Request) (answered bool) {
		first.Do(func() { answered = h(w, r) })
		return answered
	}
}

// cutThenLie sends half of every package, then resumes with other bytes, then behaves.
func cutThenLie(files archivetest.Files) archivetest.Hook {
	var mu sync.Mutex
	asked := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request) bool {
		data := files[strings.TrimPrefix(r.URL.Path, "/"+archiveName+"/")]
		mu.Lock()
		asked[r.URL.Path]++
		n := asked[r.URL.Path]
		mu.Unlock()
		if !strings.HasSuffix(r.URL.Path, "app_1.0-1_all.deb") {
			return false
		}
		half := len(data) / 2
		switch n {
		case 1:
			w.Header().Set("ETag", `"x"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:half])
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 2:
			var from int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil || from > len(data) {
				return false
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, len(data)-from))
			return true
		}
		return false
	}
}

// damage flips a bit in every file of the cache that a pattern matches.
func (w *world) damage(pattern string) {
	names, err := filepath.Glob(filepath.Join(w.dir, "cache", pattern))
	if err != nil {
		return
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err == nil && len(data) > 0 {
			data[len(data)/2] ^= 1
			os.WriteFile(name, data, 0o644)
		}
	}
}
