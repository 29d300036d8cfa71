package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"forge/internal/diag"
	"forge/internal/registry/registrytest"

	"github.com/google/go-containerregistry/pkg/name"
)

// verbs are what a client does with a repository that holds the sample; each must fail
// in the same way when the registry does.
var verbs = map[string]func(context.Context, *Client, name.Repository, *Layout) error{
	"push": func(ctx context.Context, c *Client, repo name.Repository, l *Layout) error {
		_, err := c.Push(ctx, repo, l, PushOptions{})
		return err
	},
	"resolve": func(ctx context.Context, c *Client, repo name.Repository, _ *Layout) error {
		_, err := c.Resolve(ctx, repo.Tag("1.0"))
		return err
	},
	"confirm": func(ctx context.Context, c *Client, repo name.Repository, l *Layout) error {
		return c.Confirm(ctx, repo.Digest(l.Root.Digest.String()))
	},
	"tag": func(ctx context.Context, c *Client, repo name.Repository, l *Layout) error {
		return c.Tag(ctx, repo.Digest(l.Root.Digest.String()), "2.0")
	},
	"referrers": func(ctx context.Context, c *Client, repo name.Repository, l *Layout) error {
		_, err := c.Referrers(ctx, repo.Digest(l.Root.Digest.String()))
		return err
	},
	"blob": func(ctx context.Context, c *Client, repo name.Repository, l *Layout) error {
		set, err := collect(ctx, l, l.Root)
		if err != nil {
			return err
		}
		rc, err := c.Blob(ctx, repo, set.blobs[0])
		if err != nil {
			return err
		}
		defer rc.Close()
		_, err = io.ReadAll(rc)
		return err
	},
	"inspect": func(ctx context.Context, c *Client, repo name.Repository, _ *Layout) error {
		_, err := c.Inspect(ctx, repo.Name()+":1.0", InspectOptions{})
		return err
	},
}

func TestFaults(t *testing.T) {
	type fault = registrytest.Fault
	metadata := []string{"Location", "http://169.254.169.254/latest/meta-data"}
	tests := []struct {
		name  string
		verb  string
		fault fault
		want  diag.ID // "" is success
		says  string
	}{
		{"401", "push", fault{Method: "POST", Serve: registrytest.Status(401)}, diag.RegistryAuth, "401"},
		{"401 at the door", "resolve", fault{Serve: registrytest.Status(401)}, diag.RegistryAuth, "401"},
		{"403", "push", fault{Method: "POST", Serve: registrytest.Status(403)}, diag.RegistryAuth, "403"},
		{"403 while tagging", "tag", fault{Method: "PUT", Serve: registrytest.Status(403)}, diag.RegistryAuth, "403"},
		{"404 while reading", "inspect", fault{Path: "/manifests/", Serve: registrytest.Status(404)}, diag.ImageNotFound, "404"},
		{"404 while pushing", "push", fault{Method: "POST", Serve: registrytest.Status(404)}, diag.RegistryFault, "404"},
		{"405", "push", fault{Method: "PUT", Path: "/manifests/", Serve: registrytest.Status(405)}, diag.RegistryFault, "405"},
		{"429 once", "push", fault{Times: 1, Serve: registrytest.Status(429, "Retry-After", "7")}, "", ""},
		{"429 on data once", "push", fault{Method: "PATCH", Times: 1, Serve: registrytest.Status(429, "Retry-After", "7")}, "", ""},
		{"429 for ever", "push", fault{Serve: registrytest.Status(429)}, diag.RegistryFault, "429"},
		{"503 twice", "inspect", fault{Times: 2, Serve: registrytest.Status(503)}, "", ""},
		{"500 on every second kind", "push", fault{Method: "PUT", Times: 2, Serve: registrytest.Status(500)}, "", ""},
		{"500 for ever", "confirm", fault{Path: "/blobs/", Serve: registrytest.Status(500)}, diag.RegistryFault, "500"},
		{"upload session lost", "push", fault{Method: "PUT", Path: "/blobs/uploads/", Times: 1, Serve: registrytest.Status(404)}, "", ""},
		{"cut before the answer", "push", fault{Method: "PATCH", Times: 3, Serve: registrytest.Cut(-1)}, "", ""},
		{"cut for ever", "push", fault{Method: "PATCH", Serve: registrytest.Cut(-1)}, diag.RegistryFault, ""},
		{"cut in a manifest", "confirm", fault{Path: "/manifests/", Times: 2, Serve: registrytest.Cut(20)}, "", ""},
		{"cut in every manifest", "confirm", fault{Path: "/manifests/", Serve: registrytest.Cut(20)}, diag.RegistryFault, ""},
		{"cut in a blob", "inspect", fault{Method: "GET", Path: "/blobs/", Times: 1, Serve: registrytest.Cut(20)}, "", ""},
		{"stall", "push", fault{Method: "PATCH", Serve: registrytest.Stall(0)}, diag.RegistryFault, "stalled"},
		{"stall once", "resolve", fault{Path: "/manifests/", Times: 1, Serve: registrytest.Stall(0)}, "", ""},
		{"stall in a blob", "inspect", fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Stall(20)}, diag.RegistryFault, "stalled"},

		{"R1 token realm inside the network", "push", fault{Path: "/v2/", Serve: registrytest.Status(401, "WWW-Authenticate", `Bearer realm="http://10.0.0.1/token"`)}, diag.RegistryRefused, "private or link-local"},
		{"R1 token realm at the metadata service", "push", fault{Path: "/v2/", Serve: registrytest.Status(401, "WWW-Authenticate", `Bearer realm="https://169.254.169.254/token"`)}, diag.RegistryRefused, "private or link-local"},
		{"R1 token realm in an odd spelling", "push", fault{Path: "/v2/", Serve: registrytest.Status(401, "WWW-Authenticate", `Bearer realm="https://0xa9fea9fe/token"`)}, diag.RegistryRefused, "private or link-local"},
		{"R1 token realm without TLS", "push", fault{Path: "/v2/", Serve: registrytest.Status(401, "WWW-Authenticate", `Bearer realm="http://token.example/"`)}, diag.RegistryRefused, "plain HTTP"},
		{"R1 token realm of another scheme", "push", fault{Path: "/v2/", Serve: registrytest.Status(401, "WWW-Authenticate", `Bearer realm="file:///etc/passwd"`)}, diag.RegistryRefused, "not allowed"},
		{"R2 ping redirected inside", "push", fault{Path: "/v2/", Serve: registrytest.Status(302, metadata...)}, diag.RegistryRefused, ""},
		{"R2 ping redirected inside with TLS", "push", fault{Path: "/v2/", Serve: registrytest.Status(302, "Location", "https://10.1.2.3/")}, diag.RegistryRefused, "private or link-local"},
		{"R2 ping redirected inside, odd spelling", "push", fault{Path: "/v2/", Serve: registrytest.Status(302, "Location", "https://0x0a010203/")}, diag.RegistryRefused, "private or link-local"},
		{"R2 blob redirected inside", "inspect", fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Status(307, metadata...)}, diag.RegistryRefused, "link-local"},
		{"R2 upload sent inside", "push", fault{Method: "POST", Serve: registrytest.Status(202, metadata...)}, diag.RegistryRefused, "link-local"},
		{"R2 upload sent on inside", "push", fault{Method: "PATCH", Serve: registrytest.Status(202, metadata...)}, diag.RegistryRefused, "link-local"},
		{"R4 endless manifest", "inspect", fault{Method: "GET", Path: "/manifests/", Serve: registrytest.Endless(200)}, diag.RegistryRefused, "larger"},
		{"R4 endless referrers", "referrers", fault{Path: "/referrers/", Serve: registrytest.Endless(200, "Content-Type", "application/vnd.oci.image.index.v1+json")}, diag.RegistryRefused, "larger"},
		{"R4 endless pages", "referrers", fault{Path: "/referrers/", Serve: registrytest.Alter(more("?from=1"))}, diag.RegistryRefused, "64 pages"},
		{"R2 next page inside the network", "referrers", fault{Path: "/referrers/", Serve: registrytest.Alter(more("http://10.0.0.1/"))}, diag.RegistryRefused, "another place"},
		{"R2 next page of another repository", "referrers", fault{Path: "/referrers/", Serve: registrytest.Alter(more("/v2/other/referrers/x"))}, diag.RegistryRefused, "another place"},
		{"R4 endless error", "inspect", fault{Method: "GET", Path: "/manifests/", Serve: registrytest.Endless(400)}, diag.RegistryRefused, ""},
		{"R4 endless token", "push", fault{Path: "/v2/", Times: 1, Serve: registrytest.Endless(200)}, "", ""},
		{"R4 endless blob", "inspect", fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Endless(200)}, diag.RegistryRefused, "longer"},
		{"R7 other manifest", "confirm", fault{Method: "GET", Path: "/manifests/", Serve: altered("schemaVersion", "SchemaVersion")}, diag.RegistryRefused, "does not match"},
		{"R7 other blob", "inspect", fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Alter(flip)}, diag.RegistryRefused, ""},
		{"R7 other blob, streamed", "blob", fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Alter(flip)}, diag.RegistryRefused, "sha256"},
		{"cut in a streamed blob", "blob", fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Cut(20)}, diag.RegistryFault, "reading blob"},
		{"404 for a streamed blob", "blob", fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Status(404)}, diag.ImageNotFound, "404"},
		{"R7 longer blob", "inspect", fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Alter(longer)}, diag.RegistryRefused, ""},
		{"R7 blob of another size", "confirm", fault{Method: "HEAD", Path: "/blobs/", Serve: sized}, diag.RegistryRefused, "descriptor says"},
		{"R7 digest pin ignored", "push", fault{Method: "PUT", Path: "/manifests/", Serve: claims}, diag.RegistryRefused, "says it stored"},
		{"R7 other blob stored", "push", fault{Method: "PUT", Path: "/blobs/", Serve: claims}, diag.RegistryRefused, "says it stored"},
		{"R7 tag does not take", "tag", fault{Method: "PUT", Path: "/manifests/2.0", Serve: registrytest.Status(201)}, diag.ImageNotFound, ""},
		{"terminal escapes", "push", fault{Method: "POST", Serve: hostileText}, diag.RegistryFault, "evil"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, c := start(t, registrytest.Options{Referrers: true})
			repo := repoOf(t, c, r, "app")
			l := write(t, sample(t, 1, 2))
			if tt.verb != "push" {
				if err := publish(t.Context(), c, repo, l); err != nil {
					t.Fatal(err)
				}
			}
			c = newClient(t, Options{Stall: 200 * time.Millisecond})
			before := r.State()
			r.Add(tt.fault)
			err := verbs[tt.verb](t.Context(), c, repo, l)
			check(t, err, tt.want, tt.says)
			if tags := r.Tags("app"); tt.want != "" && (tags["2.0"] != "" || tt.verb == "push" && len(tags) != 0) {
				t.Errorf("a tag is visible: %v", tags)
			}
			if tt.want != "" && tt.verb != "push" && r.State() != before {
				t.Errorf("a failed %s changed the registry", tt.verb)
			}
			r.Mend()
			if err := verbs[tt.verb](t.Context(), newClient(t, Options{}), repo, l); err != nil {
				t.Errorf("after the fault is mended: %v", err)
			}
		})
	}
}

// check asserts an error's id and text, and that the text is fit to be shown.
func check(t *testing.T, err error, want diag.ID, says string) {
	t.Helper()
	if diag.IDOf(err) != want || want == "" && err != nil {
		t.Fatalf("error id %q, want %q: %v", diag.IDOf(err), want, err)
	}
	if want == "" {
		return
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("%q does not say %q", err, says)
	}
	if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1000 {
		t.Errorf("not fit for a terminal: %q", err)
	}
}

func altered(from, to string) registrytest.Serving {
	return registrytest.Alter(func(_ http.Header, b []byte) []byte {
		return []byte(strings.Replace(string(b), from, to, 1))
	})
}

func flip(_ http.Header, b []byte) []byte {
	b = append([]byte(nil), b...)
	b[len(b)/2] ^= 1
	return b
}

func longer(_ http.Header, b []byte) []byte { return append(b[:len(b):len(b)], 0) }

// more promises another page at an address.
func more(address string) func(h http.Header, b []byte) []byte {
	return func(h http.Header, b []byte) []byte {
		h.Set("Link", "<"+address+`>; rel="next"`)
		return b
	}
}

func sized(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
	w.Header().Set("Content-Length", "3")
}

func claims(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
	w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
	w.WriteHeader(http.StatusCreated)
}

func hostileText(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
	w.WriteHeader(http.StatusBadRequest)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": "X", "message": "\x1b[2Jevil\n" + strings.Repeat("y", 5000)}}})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for after, want := range map[string]time.Duration{
		"7": 7 * time.Second, now.Add(9 * time.Second).Format(http.TimeFormat): 9 * time.Second, "soon": 500 * time.Millisecond, "": 500 * time.Millisecond,
	} {
		r := registrytest.New(registrytest.Options{})
		t.Cleanup(r.Close)
		var slept []time.Duration
		c := newClient(t, Options{Now: func() time.Time { return now }, Sleep: func(_ context.Context, d time.Duration) error {
			slept = append(slept, d)
			return nil
		}})
		r.Add(registrytest.Fault{Path: "/manifests/", Times: 1, Serve: registrytest.Status(429, "Retry-After", after)})
		_, err := c.Resolve(t.Context(), repoOf(t, c, r, "app").Tag("x"))
		check(t, err, diag.ImageNotFound, "404")
		if len(slept) != 1 || slept[0] != want {
			t.Errorf("Retry-After %q: slept %v, want %v", after, slept, want)
		}
	}
}

func TestAnHourOfRetryAfterIsNotWaitedFor(t *testing.T) {
	r := registrytest.New(registrytest.Options{})
	t.Cleanup(r.Close)
	c := newClient(t, Options{Sleep: func(context.Context, time.Duration) error { t.Error("slept"); return nil }})
	r.Add(registrytest.Fault{Path: "/manifests/", Serve: registrytest.Status(429, "Retry-After", "3600")})
	_, err := c.Resolve(t.Context(), repoOf(t, c, r, "app").Tag("x"))
	check(t, err, diag.RegistryFault, "429")
}

func TestWrongPasswordIsNotRepeatedInTheError(t *testing.T) {
	r, _ := start(t, registrytest.Options{User: "u", Password: "right"})
	c := newClient(t, Options{Keychain: static{"u", "s3cret-wrong"}})
	_, err := c.Resolve(t.Context(), repoOf(t, c, r, "app").Tag("x"))
	check(t, err, diag.RegistryAuth, "401")
	if strings.Contains(fmt.Sprint(err), "s3cret") {
		t.Errorf("the password is in %q", err)
	}
}

// R3: a blob redirected to another host is fetched there without the token.
func TestRedirectToAnotherHostCarriesNoToken(t *testing.T) {
	r, _ := start(t, registrytest.Options{User: "u", Password: "p"})
	c := newClient(t, Options{Keychain: static{"u", "p"}})
	repo := repoOf(t, c, r, "app")
	l := write(t, sample(t, 1, 2))
	if err := publish(t.Context(), c, repo, l); err != nil {
		t.Fatal(err)
	}
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked = true
		if q.Header.Get("Authorization") != "" {
			t.Errorf("%s got %q", q.URL, q.Header.Get("Authorization"))
		}
		http.NotFound(w, q)
	}))
	t.Cleanup(other.Close)
	r.Add(registrytest.Fault{Method: "GET", Path: "/blobs/", Serve: registrytest.Status(307, "Location", other.URL+"/x")})
	_, err := c.Inspect(t.Context(), repo.Name()+":1.0", InspectOptions{})
	check(t, err, diag.ImageNotFound, "404")
	if !asked {
		t.Error("the redirect was not followed: the test shows nothing")
	}
}

func TestPlainHTTPOnlyWhereAllowed(t *testing.T) {
	c := newClient(t, Options{Insecure: []string{"registry.example:5000"}})
	for host, want := range map[string]bool{
		"127.0.0.1:5000": true, "localhost:5000": true, "[::1]:5000": true, "registry.example:5000": true,
		"registry.example:5001": false, "10.0.0.1:5000": false, "registry.local:5000": false,
	} {
		req := httptest.NewRequest("GET", "http://"+host+"/v2/", nil)
		err := (&wire{opt: c.opt}).admit(req)
		if (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", host, err, want)
		}
	}
}

func TestOwnCA(t *testing.T) {
	r, c := start(t, registrytest.Options{TLS: true})
	repo := repoOf(t, c, r, "app")
	_, err := c.Resolve(t.Context(), repo.Tag("1.0"))
	check(t, err, diag.RegistryFault, "")
	c = newClient(t, Options{CA: r.CA()})
	if err := publish(t.Context(), c, repo, write(t, sample(t, 1, 1))); err != nil {
		t.Error(err)
	}
}

func TestInvalidReferences(t *testing.T) {
	c := newClient(t, Options{})
	for _, text := range []string{"", "UPPER/case", "host/a:b:c", "host/a@sha256:12", "host/../x", "a b"} {
		_, err := c.Reference(text)
		if err == nil {
			t.Errorf("%q is accepted", text)
			continue
		}
		check(t, err, diag.ReferenceInvalid, "reading reference")
	}
	for _, text := range []string{"", "justaname", "host.example/a:tag"} {
		_, err := c.Repository(text)
		check(t, err, diag.ReferenceInvalid, "reading repository")
	}
}

// R6, R7, R8, R9 in a layout.
func TestHostileLayouts(t *testing.T) {
	blob := func(l *Layout, part string) string {
		return filepath.Join(l.path, "blobs", "sha256", part)
	}
	first := func(t *testing.T, l *Layout) string {
		set, err := collect(t.Context(), l, l.Root)
		if err != nil {
			t.Fatal(err)
		}
		return set.blobs[1].Digest.Hex
	}
	tests := map[string]func(t *testing.T, l *Layout){
		"R6 blob is a symlink": func(t *testing.T, l *Layout) {
			path := blob(l, first(t, l))
			moved := filepath.Join(t.TempDir(), "x")
			must(t, os.Rename(path, moved))
			must(t, os.Symlink(moved, path))
		},
		"R6 blob is a directory": func(t *testing.T, l *Layout) {
			path := blob(l, first(t, l))
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o755))
		},
		"R7 blob has another size": func(t *testing.T, l *Layout) { must(t, os.WriteFile(blob(l, first(t, l)), []byte("x"), 0o644)) },
		"blob is missing":          func(t *testing.T, l *Layout) { must(t, os.Remove(blob(l, first(t, l)))) },
		"manifest is changed": func(t *testing.T, l *Layout) {
			must(t, os.WriteFile(blob(l, l.Root.Digest.Hex), []byte("{}"), 0o644))
		},
	}
	for what, damage := range tests {
		t.Run(what, func(t *testing.T) {
			r, c := start(t, registrytest.Options{})
			l := write(t, sample(t, 1, 2))
			damage(t, l)
			_, err := c.Push(t.Context(), repoOf(t, c, r, "app"), l, PushOptions{})
			if err == nil {
				t.Error("pushed")
			}
			if s := r.State(); strings.Contains(s, "manifest") {
				t.Errorf("a manifest was pushed:\n%s", s)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const digest0 = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// R8: bytes that two readers could take for two things.
func TestAmbiguousManifestsAreRefused(t *testing.T) {
	const index, image = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
	desc := `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digest0 + `","size":2}`
	good := `{"schemaVersion":2,"mediaType":"` + image + `","config":` + desc + `,"layers":[]}`
	if _, err := parse([]byte(good), image); err != nil {
		t.Fatalf("a good manifest: %v", err)
	}
	for what, text := range map[string]string{
		"index and image":        `{"schemaVersion":2,"mediaType":"` + image + `","config":` + desc + `,"layers":[],"manifests":[]}`,
		"index with layers":      `{"schemaVersion":2,"mediaType":"` + index + `","layers":[],"manifests":[]}`,
		"neither":                `{"schemaVersion":2,"mediaType":"` + image + `"}`,
		"other type than served": `{"schemaVersion":2,"mediaType":"` + index + `","manifests":[]}`,
		"key twice":              `{"schemaVersion":2,"config":` + desc + `,"layers":[],"layers":[]}`,
		"key twice in two cases": `{"schemaVersion":2,"config":` + desc + `,"layers":[],"Layers":[]}`,
		"odd case":               `{"schemaVersion":2,"config":` + desc + `,"layers":[],"Manifests":[]}`,
		"schema 1":               `{"schemaVersion":1,"config":` + desc + `,"layers":[]}`,
		"not an object":          `[]`,
		"not JSON":               `{"schemaVersion":2`,
		"bad digest":             strings.Replace(good, digest0, "sha256:zz", 1),
	} {
		if _, err := parse([]byte(text), image); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"a","digest":"` + digest0 + `","size":2},"layers":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"` + digest0 + `"}]}`))
	f.Add([]byte(`{"a":[[[[[{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(raw, "application/vnd.oci.image.manifest.v1+json")
		if err == nil && (m.image == nil) == (m.index == nil) {
			t.Errorf("parse gives neither or both")
		}
	})
}
