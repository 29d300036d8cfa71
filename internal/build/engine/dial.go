package engine

import (
	"context"
	"net/url"
	"path/filepath"
	"time"

	"forge/internal/diag"

	"github.com/moby/buildkit/client"
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer" // docker-container://
	_ "github.com/moby/buildkit/client/connhelper/kubepod"         // kube-pod://
	_ "github.com/moby/buildkit/client/connhelper/ssh"             // ssh://
)

// DialOptions is what an engine behind TLS needs: file names, as buildctl has them.
type DialOptions struct {
	CA         string // of the server's certificate
	Cert, Key  string // of this client
	ServerName string // in the server's certificate, when not the address's host
}

const dialTimeout = 20 * time.Second

// Dial connects to any BuildKit engine, embedded or not, and makes sure that it
// answers. Addresses are unix://PATH, tcp://HOST:PORT, docker-container://NAME,
// kube-pod://NAME and ssh://HOST. The caller closes the client.
func Dial(ctx context.Context, address string, o DialOptions) (*client.Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, diag.Errorf(diag.EngineConnect, "", "the engine's address is malformed")
	}
	target, opts, err := dialTarget(address, u, o)
	if err != nil {
		return nil, err
	}
	c, err := client.New(ctx, target, opts...)
	if err != nil {
		return nil, diag.Errorf(diag.EngineConnect, "", "connecting to the engine at %s: %w", u.Redacted(), err)
	}
	answer, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := c.Info(answer); err != nil {
		_ = c.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, diag.Errorf(diag.EngineConnect, "", "connecting to the engine at %s: %w", u.Redacted(), err)
	}
	return c, nil
}

func dialTarget(address string, u *url.URL, o DialOptions) (string, []client.ClientOpt, error) {
	var opts []client.ClientOpt
	switch u.Scheme {
	case "unix":
		if filepath.Base(u.Path) == socketName { // may be too long for the kernel
			return "passthrough:///engine", []client.ClientOpt{client.WithContextDialer(socketDialer(filepath.Dir(u.Path)))}, nil
		}
	case "tcp":
		if o.CA != "" || o.ServerName != "" {
			opts = append(opts, client.WithServerConfig(o.ServerName, o.CA))
		}
		if o.Cert != "" || o.Key != "" {
			opts = append(opts, client.WithCredentials(o.Cert, o.Key))
		}
	case "docker-container", "kube-pod", "ssh":
	default:
		return "", nil, diag.Errorf(diag.EngineConnect, "Use unix://, tcp://, docker-container://, kube-pod:// or ssh://.",
			"engine address %q has an unknown scheme", u.Redacted())
	}
	return address, opts, nil
}
