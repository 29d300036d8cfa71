// Package registry holds all traffic with image registries: pushing by digest, tagging,
// reading back, and looking at what an image is.
//
// One transport carries every request. It retries within bounds, bounds what it reads, gives up on a
// connection that stalls, and refuses what a hostile registry may try: redirects into
// private networks, plain HTTP, another digest than was sent. Errors are diag errors
// that name the registry and never contain a credential.
package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"forge/internal/diag"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Options says how to talk to registries. The zero value works.
type Options struct {
	Keychain     authn.Keychain                        // nil: docker's and podman's configuration, with credential helpers
	UserAgent    string                                // "forge/1.2.3"
	Insecure     []string                              // hosts (HOST or HOST:PORT) that may speak plain HTTP, besides loopback
	CA           *x509.CertPool                        // nil: the system's
	Certificates []tls.Certificate                     // client certificates for mutual TLS
	Proxy        func(*http.Request) (*url.URL, error) // nil: none

	Now   func() time.Time                           // nil: time.Now; only reads dates in Retry-After
	Sleep func(context.Context, time.Duration) error // nil: a timer; waits between attempts
	Stall time.Duration                              // longest silence on a connection; 0: one minute
	Tries int                                        // attempts a request; 0: four
	Jobs  int                                        // transfers at once; 0: four
}

// Client talks to registries. It is safe for concurrent use, and keeps tokens between calls.
type Client struct {
	opt    Options
	remote []remote.Option
	pusher *remote.Pusher
	puller *remote.Puller

	attaching sync.Mutex
}

// New makes a Client. It does no input or output.
func New(opt Options) (*Client, error) {
	opt = withDefaults(opt)
	c := &Client{opt: opt}
	// The transport below retries; go-containerregistry's own retries would multiply
	// with it, and know neither Retry-After nor the given clock.
	c.remote = []remote.Option{
		remote.WithAuthFromKeychain(opt.Keychain),
		remote.WithUserAgent(opt.UserAgent),
		remote.WithJobs(opt.Jobs),
		remote.WithTransport(&wire{base: base(opt), opt: opt}),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryStatusCodes(),
		remote.WithRetryPredicate(func(error) bool { return false }),
	}
	var err error
	if c.pusher, err = remote.NewPusher(c.remote...); err != nil {
		return nil, err
	}
	if c.puller, err = remote.NewPuller(c.remote...); err != nil {
		return nil, err
	}
	return c, nil
}

// Reference parses HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST. The error is ReferenceInvalid.
func (c *Client) Reference(text string) (name.Reference, error) {
	ref, err := name.ParseReference(text, c.nameOptions(text)...)
	if err == nil {
		err = plainPath(ref.Context())
	}
	if err != nil {
		return nil, diag.Errorf(diag.ReferenceInvalid, "", "reading reference %q: %w", text, err)
	}
	return ref, nil
}

// Repository parses HOST/REPOSITORY. The error is ReferenceInvalid.
func (c *Client) Repository(text string) (name.Repository, error) {
	repo, err := name.NewRepository(text, append(c.nameOptions(text), name.StrictValidation)...)
	if err == nil {
		err = plainPath(repo)
	}
	if err != nil {
		return name.Repository{}, diag.Errorf(diag.ReferenceInvalid,
			"Write HOST/REPOSITORY, without a tag.", "reading repository %q: %w", text, err)
	}
	return repo, nil
}

// plainPath refuses a repository that would lead an HTTP path elsewhere.
func plainPath(repo name.Repository) error {
	for part := range strings.SplitSeq(repo.RepositoryStr(), "/") {
		if strings.Trim(part, ".") == "" {
			return fmt.Errorf("%q is no part of a repository's name", part)
		}
	}
	return nil
}

func (c *Client) nameOptions(text string) []name.Option {
	host, _, _ := strings.Cut(text, "/")
	if plainAllowed(c.opt.Insecure, host) {
		return []name.Option{name.Insecure}
	}
	return nil
}

func withDefaults(opt Options) Options {
	if opt.Keychain == nil {
		opt.Keychain = authn.DefaultKeychain
	}
	if opt.UserAgent == "" {
		opt.UserAgent = "forge"
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Sleep == nil {
		opt.Sleep = sleep
	}
	if opt.Stall == 0 {
		opt.Stall = time.Minute
	}
	if opt.Tries == 0 {
		opt.Tries = 4
	}
	if opt.Jobs == 0 {
		opt.Jobs = 4
	}
	return opt
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// base is the transport under ours: no transparent decompression, whose output nothing
// bounds, and no connection to a link-local address behind a name (a cloud's metadata).
func base(opt Options) http.RoundTripper {
	plain := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	named := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, Control: refuseLinkLocal}
	return &http.Transport{
		Proxy: opt.Proxy,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			if _, err := netip.ParseAddr(host); err == nil {
				return plain.DialContext(ctx, network, addr)
			}
			return named.DialContext(ctx, network, addr)
		},
		TLSClientConfig:     &tls.Config{RootCAs: opt.CA, Certificates: opt.Certificates, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		MaxIdleConnsPerHost: opt.Jobs,
		IdleConnTimeout:     90 * time.Second,
	}
}
