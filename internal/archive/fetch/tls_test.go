package fetch_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"forge/internal/archive/archivetest"
	"forge/internal/archive/fetch"
	"forge/internal/diag"
)

// tlsServer serves content over TLS to clients that show a certificate; its own
// certificate is in the file it returns.
func tlsServer(t *testing.T, handler http.HandlerFunc) (url, caFile string) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, writePEM(t, "CERTIFICATE", s.Certificate().Raw)
}

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func clientPair(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "CERTIFICATE", cert), writePEM(t, "PRIVATE KEY", der)
}

func TestOwnAuthorityAndClientCertificate(t *testing.T) {
	url, ca := tlsServer(t, func(w http.ResponseWriter, r *http.Request) { archivetest.Respond(w, r, content) })
	cert, key := clientPair(t)
	for name, c := range map[string]struct {
		config fetch.Config
		want   diag.ID
	}{
		"both":           {fetch.Config{CAFile: ca, CertFile: cert, KeyFile: key}, ""},
		"no certificate": {fetch.Config{CAFile: ca}, diag.Transport},
		"no authority":   {fetch.Config{CertFile: cert, KeyFile: key}, diag.Transport},
	} {
		c.config.Attempts = 1
		if err := newBench(t, c.config).get(t, url+"/file"); diag.IDOf(err) != c.want {
			t.Errorf("%s: Get = %v, want %q", name, err, c.want)
		}
	}
}

func TestRedirectLeavesHTTPSNever(t *testing.T) {
	plain := newBench(t, fetch.Config{})
	url, ca := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.Root("a")+"/file", http.StatusFound)
	})
	cert, key := clientPair(t)
	b := newBench(t, fetch.Config{CAFile: ca, CertFile: cert, KeyFile: key, Attempts: 1})
	if err := b.get(t, url+"/file"); diag.IDOf(err) != diag.Transport {
		t.Errorf("Get = %v, want Transport", err)
	}
	if n := len(plain.Requests()); n > 0 {
		t.Errorf("%d requests without TLS, want none", n)
	}
}

func TestProxy(t *testing.T) {
	b := newBench(t, fetch.Config{})
	var host string
	b.SetHook(func(_ http.ResponseWriter, r *http.Request) bool { host = r.URL.Host; return false })
	client := newBench(t, fetch.Config{HTTPProxy: b.URL, NoProxy: "direct.example", Attempts: 1})
	if err := client.get(t, "http://mirror.example/a/file"); err != nil || host != "mirror.example" {
		t.Errorf("through the proxy: host %q, %v", host, err)
	}
}

func TestConfigFaults(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]fetch.Config{
		"no authorities file":   {CAFile: empty + "x"},
		"empty authorities":     {CAFile: empty},
		"no netrc":              {NetrcFile: empty + "x"},
		"broken certificate":    {CertFile: empty, KeyFile: empty},
		"certificate, no key":   {CertFile: empty},
		"authorities directory": {CAFile: filepath.Dir(empty)},
	} {
		if _, err := fetch.New(c, fetch.Clock{}); diag.IDOf(err) != diag.Usage {
			t.Errorf("%s: New = %v, want Usage", name, err)
		}
	}
}
