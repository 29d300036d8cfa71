// Package registrytest runs an image registry on loopback for tests: whole, with blobs
// kept per repository as real ones do, and with faults on demand.
package registrytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Options choose what kind of registry to be. The zero value is a plain one without
// the referrers API.
type Options struct {
	Referrers      bool   // serve the referrers API
	Page           int    // with Referrers: at most so many in an answer, and a Link to more
	NoDigestHeader bool   // leave out Docker-Content-Digest
	TLS            bool   // serve HTTPS, with the certificate that CA accepts
	NoMount        bool   // answer every mount with 202, as if the blob were unknown
	User, Password string // want a bearer token, bought with these
}

// Registry is a running registry.
type Registry struct {
	opt    Options
	server *httptest.Server
	inner  http.Handler
	quit   chan struct{} // closed when the registry closes; ends stalls

	mu        sync.Mutex
	faults    []*Fault
	requests  []string
	blobs     map[string]map[string][]byte // repository -> digest -> content
	manifests map[string]map[string][]byte // repository -> digest -> content
	tags      map[string]map[string]string // repository -> tag -> digest
	left      int                          // requests until it dies; negative: never
	lost      bool                         // the last request is served, only its answer lost
}

// New starts a registry. Close it.
func New(opt Options) *Registry {
	r := &Registry{
		opt: opt, left: -1, quit: make(chan struct{}),
		blobs: map[string]map[string][]byte{}, manifests: map[string]map[string][]byte{}, tags: map[string]map[string]string{},
	}
	r.inner = registry.New(
		registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithBlobHandler(store{r}),
		registry.WithReferrersSupport(opt.Referrers),
	)
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if opt.TLS {
		r.server.StartTLS()
	} else {
		r.server.Start()
	}
	return r
}

// CA accepts the certificate of a registry with TLS.
func (r *Registry) CA() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.server.Certificate())
	return pool
}

// Close stops the registry.
func (r *Registry) Close() {
	close(r.quit)
	r.server.CloseClientConnections()
	r.server.Close()
}

// Host is the registry's HOST:PORT.
func (r *Registry) Host() string {
	_, host, _ := strings.Cut(r.server.URL, "://")
	return host
}

// Requests lists what was asked, as "METHOD /path?query", in order.
func (r *Registry) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Forget empties the list of requests.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

// DieAfter lets n more requests through and cuts the connection of every later one,
// until Revive. With lost, the n-th is served but its answer never arrives.
func (r *Registry) DieAfter(n int, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.lost = n, lost
}

// Revive ends DieAfter.
func (r *Registry) Revive() { r.DieAfter(-1, false) }

// Remove deletes a blob, as a garbage collector gone wrong might.
func (r *Registry) Remove(repo, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.blobs[repo], digest)
}

// State describes everything that is stored, one line a blob, manifest and tag, sorted:
// equal states are equal strings.
func (r *Registry) State() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for repo, m := range r.blobs {
		for d, b := range m {
			lines = append(lines, fmt.Sprintf("%s blob %s %d", repo, d, len(b)))
		}
	}
	for repo, m := range r.manifests {
		for d, b := range m {
			lines = append(lines, fmt.Sprintf("%s manifest %s %d", repo, d, len(b)))
		}
	}
	for repo, m := range r.tags {
		for t, d := range m {
			lines = append(lines, fmt.Sprintf("%s tag %s %s", repo, t, d))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Tags maps a repository's tags to digests.
func (r *Registry) Tags(repo string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	tags := map[string]string{}
	for t, d := range r.tags[repo] {
		tags[t] = d
	}
	return tags
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.requests = append(r.requests, req.Method+" "+req.URL.RequestURI())
	die, lost := r.left == 0, r.left == 1 && r.lost
	if r.left > 0 {
		r.left--
	}
	r.mu.Unlock()
	if die {
		panic(http.ErrAbortHandler)
	}
	if lost {
		r.answer(httptest.NewRecorder(), req)
		panic(http.ErrAbortHandler)
	}
	if f := r.match(req); f != nil {
		f.Serve(w, req, http.HandlerFunc(r.answer), r.quit)
		return
	}
	r.answer(w, req)
}

// answer is the registry without faults.
func (r *Registry) answer(w http.ResponseWriter, req *http.Request) {
	if r.opt.User != "" && !r.admit(w, req) {
		return
	}
	if r.mount(w, req) {
		return
	}
	if r.opt.NoDigestHeader {
		w = &hiding{w}
	}
	if r.opt.Page > 0 && strings.Contains(req.URL.Path, "/referrers/") {
		r.page(w, req)
		return
	}
	repo, ref, ok := manifestPath(req.URL.Path)
	if !ok || req.Method != http.MethodPut {
		r.inner.ServeHTTP(w, req)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	seen := &status{ResponseWriter: w}
	r.inner.ServeHTTP(seen, req)
	if seen.code == http.StatusCreated {
		r.record(repo, ref, body)
	}
}

// page serves one page of a list of referrers, from where the query says.
func (r *Registry) page(w http.ResponseWriter, req *http.Request) {
	rec := httptest.NewRecorder()
	r.inner.ServeHTTP(rec, req)
	var all v1.IndexManifest
	if err := json.Unmarshal(rec.Body.Bytes(), &all); err != nil {
		panic(http.ErrAbortHandler)
	}
	slices.SortFunc(all.Manifests, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	from, _ := strconv.Atoi(req.URL.Query().Get("from"))
	end := min(from+r.opt.Page, len(all.Manifests))
	if end < len(all.Manifests) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?from=%d>; rel="next"`, req.URL.Path, end))
	}
	all.Manifests = all.Manifests[from:end]
	w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
	json.NewEncoder(w).Encode(all)
}

func (r *Registry) record(repo, ref string, body []byte) {
	sum := sha256.Sum256(body)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	put(r.manifests, repo, digest, body)
	if !strings.Contains(ref, ":") {
		put(r.tags, repo, ref, digest)
	}
}

func put[V any](m map[string]map[string]V, repo, key string, v V) {
	if m[repo] == nil {
		m[repo] = map[string]V{}
	}
	m[repo][key] = v
}

func manifestPath(path string) (repo, ref string, ok bool) {
	repo, ref, ok = strings.Cut(strings.TrimPrefix(path, "/v2/"), "/manifests/")
	return repo, ref, ok
}

// mount serves a cross-repository mount, and tells whether it did.
func (r *Registry) mount(w http.ResponseWriter, req *http.Request) bool {
	digest, from := req.URL.Query().Get("mount"), req.URL.Query().Get("from")
	repo, _, ok := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/blobs/uploads/")
	if !ok || req.Method != http.MethodPost || digest == "" || r.opt.NoMount {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.blobs[from][digest]
	if !ok {
		return false
	}
	put(r.blobs, repo, digest, b)
	w.Header().Set("Location", "/v2/"+repo+"/blobs/"+digest)
	w.WriteHeader(http.StatusCreated)
	return true
}

// admit plays the token service and the door of a registry that wants a token.
func (r *Registry) admit(w http.ResponseWriter, req *http.Request) bool {
	const token = "let-me-in"
	if req.URL.Path == "/token" {
		if user, password, _ := req.BasicAuth(); user != r.opt.User || password != r.opt.Password {
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}`, http.StatusUnauthorized)
			return false
		}
		fmt.Fprintf(w, `{"token":%q}`, token)
		return false
	}
	if req.Header.Get("Authorization") == "Bearer "+token {
		return true
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host()))
	http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"token wanted"}]}`, http.StatusUnauthorized)
	return false
}

// status remembers the status that was sent.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// hiding leaves out the digest header.
type hiding struct{ http.ResponseWriter }

func (h *hiding) WriteHeader(code int) {
	h.Header().Del("Docker-Content-Digest")
	h.ResponseWriter.WriteHeader(code)
}

// store keeps blobs per repository.
type store struct{ r *Registry }

func (s store) Get(_ context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	b, ok := s.r.blobs[repo][h.String()]
	if !ok {
		return nil, registry.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s store) Stat(_ context.Context, repo string, h v1.Hash) (int64, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	b, ok := s.r.blobs[repo][h.String()]
	if !ok {
		return 0, registry.ErrNotFound
	}
	return int64(len(b)), nil
}

func (s store) Put(_ context.Context, repo string, h v1.Hash, rc io.ReadCloser) error {
	b, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	// For an upload the handler counts the path's "blobs" as part of the name.
	put(s.r.blobs, strings.TrimSuffix(repo, "/blobs"), h.String(), b)
	return nil
}
