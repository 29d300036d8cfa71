package engine

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"forge/internal/diag"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

func TestParseSubIDs(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
		n                uint64
	}{
		{"none", "", "0 1000 1", 0},
		{"other user", "bob:100000:65536\n", "0 1000 1", 0},
		{"by name", "bob:1:2\nann:100000:65536\n", "0 1000 1 1 100000 65536", 65536},
		{"by id", "1000:100000:65536", "0 1000 1 1 100000 65536", 65536},
		{"more than needed", "ann:200000:1000000\n", "0 1000 1 1 200000 65536", 65536},
		{"two ranges", "ann:100000:65000\nann:300000:65536\n", "0 1000 1 1 100000 65000 65001 300000 536", 65536},
		{"too few", "ann:100000:100\n", "0 1000 1 1 100000 100", 100},
		{"malformed", "ann:x:1\nann:1\nann:1:-5\n:1:2\nann:99999999999:1\n#\n", "0 1000 1", 0},
	} {
		got, n := parseSubIDs(tt.text, "ann", 1000, 1000)
		if s := strings.Join(got, " "); s != tt.want || n != tt.n {
			t.Errorf("%s: %q, %d, want %q, %d", tt.name, s, n, tt.want, tt.n)
		}
	}
}

func FuzzParseSubIDs(f *testing.F) {
	f.Add("ann:100000:65536\nann:300000:4294967295\n1000:5:5\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, n := parseSubIDs(text, "ann", 1000, 1000)
		if n > neededIDs || len(m)%3 != 0 {
			t.Errorf("%d ids, map %v", n, m)
		}
	})
}

func TestLogStaysSmall(t *testing.T) {
	dir := t.TempDir()
	f, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := &boundedLog{f: f}
	line := []byte(strings.Repeat("x", 1<<10-1) + "\n")
	for range maxLog / len(line) * 3 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if fi, err := f.Stat(); err != nil || fi.Size() > maxLog || fi.Size() == 0 {
		t.Errorf("log of %d bytes, %v", fi.Size(), err)
	}
	if tail := logTail(dir); len(tail) > 2*tailLog || !strings.HasSuffix(tail, "x") {
		t.Errorf("tail of %d bytes", len(tail))
	}
}

func TestStoreKeepsOnlyWhatWasAskedFor(t *testing.T) {
	s, err := newUnsyncedStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("content")
	d := digest.FromBytes(body)
	for _, tt := range []struct {
		name     string
		size     int64
		expected digest.Digest
		want     func(error) bool
	}{
		{"wrong digest", 0, digest.FromString("other"), errdefs.IsFailedPrecondition},
		{"wrong size", 3, d, errdefs.IsFailedPrecondition},
		{"right", int64(len(body)), d, func(err error) bool { return err == nil }},
		{"again", 0, d, errdefs.IsAlreadyExists},
	} {
		w, err := s.Writer(t.Context(), content.WithRef("r"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Writer(t.Context(), content.WithRef("r")); !errdefs.IsUnavailable(err) {
			t.Errorf("%s: a second writer of one reference: %v", tt.name, err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), tt.size, tt.expected); !tt.want(err) {
			t.Errorf("%s: Commit: %v", tt.name, err)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: Close after Commit: %v", tt.name, err)
		}
	}
	got, err := content.ReadBlob(t.Context(), s, ocispecs.Descriptor{Digest: d, Size: int64(len(body))})
	if err != nil || string(got) != string(body) {
		t.Errorf("ReadBlob = %q, %v", got, err)
	}
	if all, err := s.ListStatuses(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("writes %v remain, %v", all, err)
	}
}

func TestDialErrors(t *testing.T) {
	for _, address := range []string{
		"unix://" + filepath.Join(t.TempDir(), "nobody.sock"), "unix://" + filepath.Join(t.TempDir(), socketName),
		"gopher://x", "%", "", "tcp://me:hunter2@127.0.0.1:1", "gopher://me:hunter2@x", "tcp://me:hunter2@%",
	} {
		_, err := Dial(t.Context(), address, DialOptions{})
		if diag.IDOf(err) != diag.EngineConnect {
			t.Errorf("Dial(%q): %v, want %s", address, err, diag.EngineConnect)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Dial(%q): %v tells the password", address, err)
		}
	}
}

// infoServer answers only Info.
type infoServer struct {
	controlapi.UnimplementedControlServer
}

func (infoServer) Info(context.Context, *controlapi.InfoRequest) (*controlapi.InfoResponse, error) {
	return &controlapi.InfoResponse{BuildkitVersion: &apitypes.BuildkitVersion{Version: "v9"}}, nil
}

func TestDialTLS(t *testing.T) {
	dir := t.TempDir()
	ca, pair := writePair(t, dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: ca, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	controlapi.RegisterControlServer(server, infoServer{})
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	address := fmt.Sprintf("tcp://%s", l.Addr())
	c, err := Dial(t.Context(), address, DialOptions{CA: cert, Cert: cert, Key: key, ServerName: "engine.test"})
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	defer c.Close()
	for name, o := range map[string]DialOptions{
		"no TLS":      {},
		"no client":   {CA: cert, ServerName: "engine.test"},
		"wrong name":  {CA: cert, Cert: cert, Key: key, ServerName: "other.test"},
		"no such key": {CA: cert, Cert: cert, Key: key + "x", ServerName: "engine.test"},
	} {
		if _, err := Dial(t.Context(), address, o); diag.IDOf(err) != diag.EngineConnect {
			t.Errorf("%s: %v, want %s", name, err, diag.EngineConnect)
		}
	}
}

// writePair makes a self-signed certificate that serves as CA, server and client.
func writePair(t *testing.T, dir string) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"engine.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for name, b := range map[string][]byte{"cert.pem": certPEM, "key.pem": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool, pair
}

func TestServeRefusesOtherArguments(t *testing.T) {
	for _, arg := range []string{"", "{}", "x", "[]"} {
		if err := Serve(t.Context(), arg); err == nil {
			t.Errorf("Serve(%q) served", arg)
		}
	}
}

func TestClosersRunLastFirst(t *testing.T) {
	var order []int
	c := &closers{}
	for i := range 3 {
		c.add(func() error { order = append(order, i); return nil })
	}
	if err := c.close(); err != nil || !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("order %v, %v", order, err)
	}
}
