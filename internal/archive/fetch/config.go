// Package fetch downloads files over HTTP(S) or from file URLs, and keeps what it
// downloaded in a cache addressed by content.
//
// A server is never trusted: every body is bounded by the size asked for and counts
// only when its SHA-256 is the one asked for, or when the caller has verified a
// signature over it. User names, passwords and query strings of URLs never reach an
// error text.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"forge/internal/diag"
)

// Defaults of Config's zero fields, and bounds that no configuration moves.
const (
	DefaultParallel = 8
	DefaultAttempts = 4
	DefaultStall    = 30 * time.Second

	maxRedirects   = 10
	maxBackoff     = 30 * time.Second
	maxRetryAfter  = 60 * time.Second
	minBytesPerSec = 1024 // a body slower than this over a whole stall window is given up
)

// Config says how servers are reached. The zero value is useful: no proxy, the
// system's certificate authorities, no credentials.
type Config struct {
	HTTPProxy  string // as the environment variable HTTP_PROXY
	HTTPSProxy string // as HTTPS_PROXY
	NoProxy    string // as NO_PROXY

	CAFile    string // PEM certificates trusted beside the system's
	CertFile  string // PEM client certificate for mutual TLS, with KeyFile
	KeyFile   string
	NetrcFile string // credentials by host, in curl's netrc format

	Parallel int           // downloads at once
	Attempts int           // tries of one URL before it counts as failed
	Stall    time.Duration // a server silent (or below 1 KiB/s) for this long has stalled
}

// Clock is the time as this package needs it.
type Clock struct {
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error // returns early with ctx's error
}

// Client downloads. It is safe for use by several goroutines.
type Client struct {
	http     *http.Client
	clock    Clock
	attempts int
	stall    time.Duration
	slots    chan struct{}
}

// New makes a client; the files that the configuration names are read now.
func New(c Config, clock Clock) (*Client, error) {
	tlsConfig, err := c.tls()
	if err != nil {
		return nil, err
	}
	var logins netrc
	if c.NetrcFile != "" {
		data, err := os.ReadFile(c.NetrcFile)
		if err != nil {
			return nil, diag.Errorf(diag.Usage, "", "reading netrc file: %w", err)
		}
		logins = parseNetrc(string(data))
	}
	proxy := (&httpproxy.Config{HTTPProxy: c.HTTPProxy, HTTPSProxy: c.HTTPSProxy, NoProxy: c.NoProxy}).ProxyFunc()
	parallel := positive(c.Parallel, DefaultParallel)
	transport := &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		TLSClientConfig:        tlsConfig,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    parallel,
		MaxResponseHeaderBytes: 64 << 10,
		TLSHandshakeTimeout:    DefaultStall,
	}
	return &Client{
		http:     &http.Client{Transport: &authorizer{next: transport, logins: logins}, CheckRedirect: checkRedirect},
		clock:    clock,
		attempts: positive(c.Attempts, DefaultAttempts),
		stall:    positive(c.Stall, DefaultStall),
		slots:    make(chan struct{}, parallel),
	}, nil
}

func positive[T int | time.Duration](v, fallback T) T {
	if v > 0 {
		return v
	}
	return fallback
}

func (c Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, diag.Errorf(diag.Usage, "", "reading certificate authorities: %w", err)
		}
		if t.RootCAs, err = x509.SystemCertPool(); err != nil {
			t.RootCAs = x509.NewCertPool()
		}
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, diag.Errorf(diag.Usage, "Name a PEM file.", "reading certificate authorities: %s holds no certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, diag.Errorf(diag.Usage, "", "reading client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// checkRedirect refuses what a redirect must not do: leave https, carry control
// characters (CVE-2019-3462), return to a place already asked, or never end.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	u := req.URL
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("redirect to a URL of scheme %q", u.Scheme)
	}
	query, err := url.QueryUnescape(u.RawQuery)
	if err != nil || hasControl(u.Path) || hasControl(query) {
		return fmt.Errorf("redirect to a URL with control characters")
	}
	for _, v := range via {
		if v.URL.String() == u.String() {
			return fmt.Errorf("redirect loop")
		}
		if v.URL.Scheme == "https" && u.Scheme == "http" {
			return fmt.Errorf("redirect from https to http")
		}
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// Redact gives a URL without user, password, query and fragment, fit for people.
func Redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(malformed URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
