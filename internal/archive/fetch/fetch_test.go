package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"forge/internal/archive/archivetest"
	"forge/internal/archive/fetch"
	"forge/internal/diag"
)

var (
	now     = time.Date(2026, 6, 2, 12, 0, 0, 0, time.UTC)
	content = bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	want    = fetch.Want{SHA256: archivetest.SHA256(content), Size: int64(len(content))}
)

// bench is a server with one file, a cache and a client whose sleeps are only noted.
type bench struct {
	*archivetest.Server
	cache  *fetch.Cache
	client *fetch.Client
	dir    string
	mu     sync.Mutex
	slept  []time.Duration
}

func newBench(t *testing.T, c fetch.Config) *bench {
	t.Helper()
	s, err := archivetest.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.Put("a", archivetest.Files{"file": content})
	b := &bench{Server: s, dir: t.TempDir()}
	b.cache, err = fetch.OpenCache(b.dir, now)
	if err != nil {
		t.Fatal(err)
	}
	b.client, err = fetch.New(c, fetch.Clock{Now: func() time.Time { return now }, Sleep: func(ctx context.Context, d time.Duration) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.slept = append(b.slept, d)
		return ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) get(t *testing.T, urls ...string) error {
	t.Helper()
	if urls == nil {
		urls = []string{b.Root("a") + "/file"}
	}
	path, err := b.cache.Get(t.Context(), b.client, want, urls...)
	left, readErr := os.ReadDir(filepath.Join(b.dir, "tmp"))
	if readErr != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v, %v", left, readErr)
	}
	if err != nil {
		if _, statErr := os.Stat(b.cache.Path(want.SHA256)); statErr == nil {
			t.Error("a failed download left a file in the cache")
		}
		return err
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("the cached file is not the content: %v", err)
	}
	return nil
}

// first answers the first n requests by f, then lets the server be honest.
func first(n int, f func(http.ResponseWriter, *http.Request)) archivetest.Hook {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		n--
		again := n >= 0
		mu.Unlock()
		if again {
			f(w, r)
		}
		return again
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// cut sends half the file, then cuts the connection.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("ETag", `"`+want.SHA256[:16]+`"`)
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.Write(content[:len(content)/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func TestGetOnce(t *testing.T) {
	b := newBench(t, fetch.Config{})
	for range 2 {
		if err := b.get(t); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.Requests()); n != 1 {
		t.Errorf("%d requests for two reads, want 1", n)
	}
}

func TestGetSurvivesPassingFaults(t *testing.T) {
	other := bytes.Repeat([]byte("x"), len(content))
	for name, c := range map[string]struct {
		hook   archivetest.Hook
		ranges []string // Range headers of the requests
		slept  []time.Duration
	}{
		"500 then fine": {first(2, status(500)), []string{"", "", ""}, []time.Duration{time.Second, 2 * time.Second}},
		"429 with Retry-After": {first(1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		}), []string{"", ""}, []time.Duration{7 * time.Second}},
		"503 with a date": {first(1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", now.Add(5*time.Second).Format(http.TimeFormat))
			w.WriteHeader(503)
		}), []string{"", ""}, []time.Duration{5 * time.Second}},
		"Retry-After without end": {first(1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "99999999")
			w.WriteHeader(503)
		}), []string{"", ""}, []time.Duration{time.Minute}},
		"cut, resumed": {first(1, cut), []string{"", "bytes=65536-"}, []time.Duration{time.Second}},
		"cut, Range ignored": {func() archivetest.Hook {
			n := 0
			return func(w http.ResponseWriter, r *http.Request) bool {
				if n++; n == 1 {
					cut(w, r)
				}
				r.Header.Del("Range")
				return false
			}
		}(), []string{"", "bytes=65536-"}, []time.Duration{time.Second}},
		"cut, then 416": {func() archivetest.Hook {
			n := 0
			return func(w http.ResponseWriter, r *http.Request) bool {
				switch n++; n {
				case 1:
					cut(w, r)
				case 2:
					w.WriteHeader(416)
					return true
				}
				return false
			}
		}(), []string{"", "bytes=65536-", ""}, []time.Duration{time.Second, 2 * time.Second}},
		"cut, resumed with another file": {func() archivetest.Hook {
			n := 0
			return func(w http.ResponseWriter, r *http.Request) bool {
				switch n++; n {
				case 1:
					cut(w, r)
				case 2:
					w.Header().Set("Content-Range", fmt.Sprintf("bytes 65536-%d/%d", len(content)-1, len(content)))
					w.WriteHeader(206)
					w.Write(other[65536:])
					return true
				}
				return false
			}
		}(), []string{"", "bytes=65536-", ""}, []time.Duration{time.Second, 2 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, fetch.Config{})
			b.SetHook(c.hook)
			if err := b.get(t); err != nil {
				t.Fatal(err)
			}
			var ranges []string
			for _, r := range b.Requests() {
				ranges = append(ranges, r.Header.Get("Range"))
			}
			// the hook of one case deletes the header before the log is read
			if name != "cut, Range ignored" && !slices.Equal(ranges, c.ranges) {
				t.Errorf("ranges %q, want %q", ranges, c.ranges)
			}
			if !slices.Equal(b.slept, c.slept) {
				t.Errorf("slept %v, want %v", b.slept, c.slept)
			}
		})
	}
}

func TestGetRefuses(t *testing.T) {
	answer := func(data []byte) archivetest.Hook {
		return func(w http.ResponseWriter, r *http.Request) bool { archivetest.Respond(w, r, data); return true }
	}
	redirect := func(to string) archivetest.Hook {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Location", to)
			w.WriteHeader(302)
			return true
		}
	}
	for name, c := range map[string]struct {
		hook archivetest.Hook
		want diag.ID
	}{
		"wrong content":   {answer(bytes.Repeat([]byte("x"), len(content))), diag.HashMismatch},
		"too short":       {answer(content[1:]), diag.HashMismatch},
		"one byte more":   {answer(append(slices.Clone(content), 'x')), diag.HashMismatch},
		"captive portal":  {answer([]byte("<html>log in</html>")), diag.HashMismatch},
		"empty":           {answer(nil), diag.HashMismatch},
		"404":             {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(404); return true }, diag.Transport},
		"500 for ever":    {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true }, diag.Transport},
		"304":             {func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(304); return true }, diag.Transport},
		"redirect loop":   {redirect("/a/file"), diag.Transport},
		"to another kind": {redirect("file:///etc/passwd"), diag.Transport},
		"with newline": {func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "\n") {
				archivetest.Respond(w, r, content)
				return true
			}
			return redirect("/a/x%0AHash:%20y")(w, r)
		}, diag.Transport},
		"endless stream": {func(w http.ResponseWriter, _ *http.Request) bool {
			for {
				if _, err := w.Write(content); err != nil {
					return true
				}
			}
		}, diag.HashMismatch},
		"silent after a few bytes": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Write(content[:10])
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}, diag.Transport},
		"silent": {func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, diag.Transport},
	} {
		t.Run(name, func(t *testing.T) {
			config := fetch.Config{Attempts: 2}
			if strings.HasPrefix(name, "silent") {
				config.Stall = 100 * time.Millisecond
			}
			b := newBench(t, config)
			b.SetHook(c.hook)
			if err := b.get(t); diag.IDOf(err) != c.want {
				t.Errorf("Get = %v (id %q), want %q", err, diag.IDOf(err), c.want)
			}
		})
	}
}

func TestGetTriesTheNextMirror(t *testing.T) {
	b := newBench(t, fetch.Config{})
	b.Put("bad", archivetest.Files{"file": content[1:]})
	if err := b.get(t, b.Root("none")+"/file", b.Root("bad")+"/file", b.Root("a")+"/file"); err != nil {
		t.Fatal(err)
	}
}

func TestNotFoundIsToldOnlyWhenAllSaySo(t *testing.T) {
	b := newBench(t, fetch.Config{Attempts: 1})
	if err := b.get(t, b.Root("a")+"/no", b.Root("b")+"/no"); !errors.Is(err, fetch.ErrNotFound) {
		t.Errorf("Get = %v, want not found", err)
	}
	b.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/b") {
			w.WriteHeader(500)
			return true
		}
		return false
	})
	if err := b.get(t, b.Root("a")+"/no", b.Root("b")+"/no"); errors.Is(err, fetch.ErrNotFound) || diag.IDOf(err) != diag.Transport {
		t.Errorf("Get = %v, want the server's fault", err)
	}
}

func TestCacheFindsAFlippedBit(t *testing.T) {
	b := newBench(t, fetch.Config{})
	if err := b.get(t); err != nil {
		t.Fatal(err)
	}
	broken := slices.Clone(content)
	broken[7] ^= 1
	if err := os.WriteFile(b.cache.Path(want.SHA256), broken, 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := fetch.OpenCache(b.dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if again.Has(want.SHA256) {
		t.Error("Has believes a broken file")
	}
	b.cache = again
	if err := b.get(t); err != nil {
		t.Fatal(err)
	}
}

func TestCacheRemovesWhatAKilledProcessLeft(t *testing.T) {
	b := newBench(t, fetch.Config{})
	old, young := filepath.Join(b.dir, "tmp", "old"), filepath.Join(b.dir, "tmp", "young")
	for path, age := range map[string]time.Duration{old: 48 * time.Hour, young: time.Hour} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fetch.OpenCache(b.dir, now); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the old file is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("the young file, which another process may be writing, is gone")
	}
}

func TestConditional(t *testing.T) {
	b := newBench(t, fetch.Config{Attempts: 1})
	url := b.Root("a") + "/file"
	body, v, fresh, err := b.client.Conditional(t.Context(), url, fetch.Validator{}, want.Size)
	if err != nil || !fresh || !bytes.Equal(body, content) || v.ETag == "" {
		t.Fatalf("Conditional = %d bytes, %+v, %v, %v", len(body), v, fresh, err)
	}
	if _, _, fresh, err = b.client.Conditional(t.Context(), url, v, want.Size); err != nil || fresh {
		t.Errorf("Conditional again = %v, %v, want not fresh", fresh, err)
	}
	if _, _, _, err = b.client.Conditional(t.Context(), url, fetch.Validator{}, want.Size-1); diag.IDOf(err) != diag.TooLarge {
		t.Errorf("Conditional over the limit: %v, want TooLarge", err)
	}
	b.SetHook(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(304); return true })
	if _, _, _, err = b.client.Conditional(t.Context(), url, fetch.Validator{}, want.Size); diag.IDOf(err) != diag.Transport {
		t.Errorf("304 to an unconditional request: %v, want Transport", err)
	}
}

func TestFileURL(t *testing.T) {
	b := newBench(t, fetch.Config{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.get(t, "file://"+dir+"/none", "file://"+dir+"/f"); err != nil {
		t.Fatal(err)
	}
}

func TestCredentials(t *testing.T) {
	netrc := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(netrc, []byte("machine other.example login x password y\nmachine 127.0.0.1\n login me password hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, fetch.Config{NetrcFile: netrc, Attempts: 1})
	var user, password string
	b.SetHook(func(w http.ResponseWriter, r *http.Request) bool { user, password, _ = r.BasicAuth(); return false })
	if err := b.get(t); err != nil || user != "me" || password != "hunter2" {
		t.Errorf("netrc: %q %q, %v", user, password, err)
	}
	b = newBench(t, fetch.Config{Attempts: 1})
	b.SetHook(func(w http.ResponseWriter, r *http.Request) bool { user, password, _ = r.BasicAuth(); return false })
	withUser := strings.Replace(b.Root("a"), "http://", "http://you:hunter3@", 1)
	if err := b.get(t, withUser+"/file"); err != nil || user != "you" || password != "hunter3" {
		t.Errorf("URL: %q %q, %v", user, password, err)
	}
}

func TestRedirectCarriesNoCredentials(t *testing.T) {
	b := newBench(t, fetch.Config{Attempts: 1})
	there := newBench(t, fetch.Config{})
	b.SetHook(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, there.Root("a")+"/file", http.StatusFound)
		return true
	})
	if err := b.get(t, strings.Replace(b.Root("a"), "http://", "http://you:hunter3@", 1)+"/file"); err != nil {
		t.Fatal(err)
	}
	for _, r := range there.Requests() {
		if r.Header.Get("Authorization") != "" {
			t.Error("the other host was told the password")
		}
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	b := newBench(t, fetch.Config{Attempts: 1})
	for _, u := range []string{
		strings.Replace(b.Root("a"), "http://", "http://you:hunter2@", 1) + "/no?token=hunter2",
		"http://you:hunter2@127.0.0.1:1/file?token=hunter2",
		"http://you:hunter2@[::1/file",
	} {
		if err := b.get(t, u); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Get: %v, want an error without the password", err)
		}
	}
}

func TestDiskFaultIsNoReasonToAskAgain(t *testing.T) {
	b := newBench(t, fetch.Config{})
	full, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if err := b.client.Get(t.Context(), b.Root("a")+"/file", want, full); diag.IDOf(err) != diag.Disk {
		t.Errorf("Get = %v, want Disk", err)
	}
	if n := len(b.Requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestTwoAtOnce(t *testing.T) {
	b := newBench(t, fetch.Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			cache, err := fetch.OpenCache(b.dir, now)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := cache.Get(t.Context(), b.client, want, b.Root("a")+"/file"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !b.cache.Has(want.SHA256) {
		t.Error("the content is not in the cache")
	}
}
