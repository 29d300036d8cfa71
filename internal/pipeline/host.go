// Package pipeline puts the steps in order: templates to spec, spec to lock, lock to
// image, image to registry with its evidence. It does all fetching for them and decides
// nothing about their content.
package pipeline

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/net/http/httpproxy"

	"forge/internal/archive"
	"forge/internal/archive/fetch"
	"forge/internal/archive/mirror"
	"forge/internal/build/engine"
	"forge/internal/diag"
	"forge/internal/registry"
)

// Host is what the pipeline takes from the machine that it runs on.
type Host struct {
	Cache   string              // forge's cache directory, absolute
	Exe     string              // forge's own file, started again as the engine
	Version string              // of forge
	Engine  string              // address of a BuildKit engine; "" means the embedded one
	TLS     engine.DialOptions  // for an engine behind TLS
	UID     int                 // effective user id
	Environ []string            // for the embedded engine
	Getenv  func(string) string // proxies, FORGE_DEB_MIRROR, FORGE_DEB_SNAPSHOT
	Config  Config
	Now     func() time.Time
	Note    func(format string, args ...any)     // one line of progress
	Fetched func(archive.Progress)               // a file has come from an archive or the cache; may be nil
	Watch   func(title string) (Display, func()) // shows one build's progress until the function is called
}

// Display takes an engine's progress.
type Display func(*client.SolveStatus)

// Sleep waits, or returns early with ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// archives makes the client of package archives.
func (h *Host) archives() (*archive.Client, error) {
	table, err := mirror.Load(mirror.Options{
		Env:      h.Getenv("FORGE_DEB_MIRROR"),
		Config:   h.Config.Mirrors,
		Apt:      os.DirFS("/etc/apt"),
		Snapshot: first(h.Getenv("FORGE_DEB_SNAPSHOT"), h.Config.Snapshot),
	})
	if err != nil {
		return nil, err
	}
	return archive.New(archive.Options{
		CacheDir: filepath.Join(h.Cache, "archive"),
		Mirrors:  table,
		Config: fetch.Config{
			HTTPProxy:  first(h.Getenv("http_proxy"), h.Getenv("HTTP_PROXY")),
			HTTPSProxy: first(h.Getenv("https_proxy"), h.Getenv("HTTPS_PROXY")),
			NoProxy:    first(h.Getenv("no_proxy"), h.Getenv("NO_PROXY")),
			CAFile:     h.Config.CAFile,
			CertFile:   h.Config.CertFile,
			KeyFile:    h.Config.KeyFile,
			NetrcFile:  h.Config.Netrc,
		},
		Clock:    fetch.Clock{Now: h.Now, Sleep: Sleep},
		Progress: h.Fetched,
	})
}

// Registry makes the client of image registries.
func (h *Host) Registry() (*registry.Client, error) {
	o := registry.Options{
		UserAgent: "forge/" + h.Version,
		Insecure:  h.Config.Insecure,
		Proxy:     h.proxy(),
		Now:       h.Now,
		Sleep:     Sleep,
	}
	if h.Config.CAFile != "" {
		pem, err := os.ReadFile(h.Config.CAFile)
		if err != nil {
			return nil, diag.Errorf(diag.Usage, "", "reading certificate authorities: %w", err)
		}
		if o.CA, err = x509.SystemCertPool(); err != nil {
			o.CA = x509.NewCertPool()
		}
		if !o.CA.AppendCertsFromPEM(pem) {
			return nil, diag.Errorf(diag.Usage, "Name a PEM file.", "reading certificate authorities: %q holds no certificate", h.Config.CAFile)
		}
	}
	if h.Config.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(h.Config.CertFile, h.Config.KeyFile)
		if err != nil {
			return nil, diag.Errorf(diag.Usage, "", "reading client certificate: %w", err)
		}
		o.Certificates = []tls.Certificate{pair}
	}
	return registry.New(o)
}

func (h *Host) proxy() func(*http.Request) (*url.URL, error) {
	proxy := (&httpproxy.Config{
		HTTPProxy:  first(h.Getenv("http_proxy"), h.Getenv("HTTP_PROXY")),
		HTTPSProxy: first(h.Getenv("https_proxy"), h.Getenv("HTTPS_PROXY")),
		NoProxy:    first(h.Getenv("no_proxy"), h.Getenv("NO_PROXY")),
	}).ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
