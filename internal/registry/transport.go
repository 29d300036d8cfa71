package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"forge/internal/diag"
)

// Bounds on what a registry may send. Distribution's own limit for a manifest is 4 MiB.
const (
	maxManifest = 8 << 20   // manifests, indexes, referrers, tag lists
	maxOther    = 128 << 10 // pings, tokens, errors
	maxWait     = 2 * time.Minute
)

var (
	errStalled  = errors.New("the connection stalled")
	errTooLarge = errors.New("the answer is larger than allowed")
)

// wire is the one way to a registry.
type wire struct {
	base http.RoundTripper
	opt  Options
}

// exhausted marks an error that more attempts did not mend.
type exhausted struct{ error }

func (e exhausted) Unwrap() error { return e.error }

// RoundTrip sends a request and gives the whole answer, however many pages it has.
func (t *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.send(req)
	if err != nil {
		return resp, err
	}
	return t.joinPages(req, resp)
}

// send sends a request, again where that is safe and may help: on a cut connection, on
// 408, 429 and 5xx, as often as Options.Tries. What is within an upload is not sent
// twice to one place; whoever uploads starts over.
func (t *wire) send(req *http.Request) (*http.Response, error) {
	if err := t.admit(req); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	for try := 1; ; try++ {
		resp, err := t.once(req, try)
		if err == nil && !temporary(resp.StatusCode) {
			if err := checkDigest(req, resp); err != nil {
				return nil, err
			}
			return resp, nil
		}
		if err != nil && !cut(err) || req.Context().Err() != nil || !replayable(req) {
			return resp, err
		}
		wait := t.wait(resp, try)
		if try >= t.opt.Tries || wait > maxWait {
			if err != nil {
				err = exhausted{err}
			}
			return resp, err
		}
		if resp != nil {
			resp.Body.Close()
		}
		if err := t.opt.Sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// once sends the request one time, under a watchdog that ends it after a silence.
func (t *wire) once(req *http.Request, try int) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	dog := &watchdog{after: t.opt.Stall, timer: time.AfterFunc(t.opt.Stall, func() { cancel(errStalled) })}
	out := req.Clone(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		body := req.Body
		if try > 1 {
			var err error
			if body, err = req.GetBody(); err != nil {
				dog.timer.Stop()
				cancel(nil)
				return nil, err
			}
		}
		out.Body = &sending{ReadCloser: body, dog: dog}
	}
	resp, err := t.base.RoundTrip(out)
	dog.timer.Stop()
	if err != nil {
		if context.Cause(ctx) == errStalled {
			err = errStalled
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &receiving{body: resp.Body, left: bound(req, resp), dog: dog, ctx: ctx, cancel: cancel}
	return resp, nil
}

// wait is how long to wait before the next attempt.
func (t *wire) wait(resp *http.Response, try int) time.Duration {
	backoff := 500 * time.Millisecond << (try - 1)
	if resp == nil {
		return backoff
	}
	after := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(after); err == nil && s >= 0 {
		return time.Duration(min(s, 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(at.Sub(t.opt.Now()), 0)
	}
	return backoff
}

func temporary(status int) bool {
	return slices.Contains([]int{408, 429, 500, 502, 503, 504}, status)
}

func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errStalled) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "server closed idle connection")
}

// replayable tells whether a request may be sent again as it is. An upload's data and
// its end may not: the session may hold some of it, or be over.
func replayable(req *http.Request) bool {
	if inSession(req) {
		return false
	}
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// inSession tells whether a request is within an upload that has begun.
func inSession(req *http.Request) bool {
	return req.Method == http.MethodPatch || req.Method == http.MethodPut && !strings.Contains(req.URL.Path, "/manifests/")
}

// admit refuses requests that a registry must not be able to cause.
func (t *wire) admit(req *http.Request) error {
	host := req.URL.Hostname()
	if req.URL.Scheme != "https" && !plainAllowed(t.opt.Insecure, req.URL.Host) {
		return diag.Errorf(diag.RegistryRefused, "Use TLS, giving forge the registry's own CA if it has one, or list the host as insecure.",
			"connecting to %q: plain HTTP is not allowed for this host", req.URL.Host)
	}
	first := origin(req)
	if first == req || first.URL.Hostname() == host || !internalAddress(host) {
		return nil
	}
	return diag.Errorf(diag.RegistryRefused, "", "following %q's redirect: %q is a private or link-local address",
		first.URL.Host, req.URL.Host)
}

// origin is the request at the start of a chain of redirects.
func origin(req *http.Request) *http.Request {
	for range 20 {
		if req.Response == nil || req.Response.Request == nil {
			break
		}
		req = req.Response.Request
	}
	return req
}

// internalAddress tells whether a host is an IP address inside a network or machine.
// A host that ends in a number but is no IP address in the usual form counts as one:
// some resolvers read 0x7f000001 or 127.1 as addresses.
func internalAddress(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		last := host[strings.LastIndexByte(host, '.')+1:]
		_, err := strconv.ParseUint(last, 0, 64)
		return err == nil
	}
	addr = addr.Unmap()
	return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast() || addr.IsUnspecified()
}

// plainAllowed tells whether a host may be spoken to without TLS.
func plainAllowed(listed []string, hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLoopback() {
		return true
	}
	return host == "localhost" || slices.Contains(listed, host) || slices.Contains(listed, hostport)
}

// refuseLinkLocal is a net.Dialer.Control for hosts given by name.
func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err == nil && ap.Addr().Unmap().IsLinkLocalUnicast() {
		return diag.Errorf(diag.RegistryRefused, "", "connecting to %q: the name leads to a link-local address", address)
	}
	return nil
}

// bound is how many bytes an answer may have. A blob is bounded by its descriptor.
func bound(req *http.Request, resp *http.Response) int64 {
	path := origin(req).URL.Path
	switch {
	case resp.StatusCode/100 != 2:
		return maxOther
	case strings.Contains(path, "/blobs/"):
		return 1 << 62
	case strings.Contains(path, "/manifests/"), strings.Contains(path, "/referrers/"), strings.HasSuffix(path, "/tags/list"):
		return maxManifest
	}
	return maxOther
}

// checkDigest compares the digest a registry says it stored with the one that was sent.
func checkDigest(req *http.Request, resp *http.Response) error {
	got := resp.Header.Get("Docker-Content-Digest")
	if req.Method != http.MethodPut || resp.StatusCode/100 != 2 || !strings.HasPrefix(got, "sha256:") {
		return nil
	}
	want := req.URL.Query().Get("digest")
	if strings.Contains(req.URL.Path, "/manifests/") && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return err
		}
		defer body.Close()
		h := sha256.New()
		if _, err := io.Copy(h, body); err != nil {
			return err
		}
		want = "sha256:" + hex.EncodeToString(h.Sum(nil))
	}
	if want == "" || want == got {
		return nil
	}
	resp.Body.Close()
	return diag.Errorf(diag.RegistryRefused, "", "pushing to %q: sent %s, the registry says it stored %q", req.URL.Host, want, got)
}

// watchdog ends a request that is silent for too long.
type watchdog struct {
	after time.Duration
	timer *time.Timer
}

// sending is a request's body; every read of it is a sign of life.
type sending struct {
	io.ReadCloser
	dog *watchdog
}

func (s *sending) Read(p []byte) (int, error) {
	s.dog.timer.Reset(s.dog.after)
	return s.ReadCloser.Read(p)
}

// receiving is a response's body, bounded. The watchdog runs only while a read waits,
// so that a slow reader is not taken for a slow registry.
type receiving struct {
	body   io.ReadCloser
	left   int64
	dog    *watchdog
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (r *receiving) Read(p []byte) (int, error) {
	r.dog.timer.Reset(r.dog.after)
	n, err := r.body.Read(p)
	r.dog.timer.Stop()
	r.left -= int64(n)
	if r.left < 0 {
		return 0, errTooLarge
	}
	if err != nil && err != io.EOF && context.Cause(r.ctx) == errStalled {
		err = errStalled
	}
	return n, err
}

func (r *receiving) Close() error {
	r.dog.timer.Stop()
	err := r.body.Close()
	r.cancel(nil)
	return err
}
