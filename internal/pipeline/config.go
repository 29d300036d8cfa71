package pipeline

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/zclconf/go-cty/cty"

	"forge/internal/diag"
	"forge/internal/hclconf"
)

// Config is what a user or an administrator says about this machine's surroundings,
// once for all templates.
type Config struct {
	Mirrors  map[string][]string // archive -> roots, best first
	Snapshot string              // root of the snapshot service
	CAFile   string
	CertFile string
	KeyFile  string
	Netrc    string
	Insecure []string // registries that may speak plain HTTP
}

// ConfigSchemas are the blocks of the configuration file; docs/configuration.md is
// generated from them.
var ConfigSchemas = []*hclconf.Schema{mirrorSchema, networkSchema}

var mirrorSchema = &hclconf.Schema{
	Name:   "mirror",
	Labels: []string{"archive"},
	Doc:    "Where an archive is reached from this machine. `FORGE_DEB_MIRROR` goes before it; the template's `url` and the machine's apt sources come after it. The archive `snapshot` is the service that keeps packages which the mirrors have dropped.",
	Example: `mirror "debian" {
  urls = ["https://mirror.example/debian"]
}
`,
	Attrs: []hclconf.Attr{
		{Name: "urls", Type: cty.List(cty.String), Required: true, Doc: "Roots of the archive, tried in this order."},
	},
}

var networkSchema = &hclconf.Schema{
	Name: "network",
	Doc:  "How servers are reached. Proxies come from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.",
	Once: true,
	Example: `network {
  ca_file    = "/etc/ssl/company.pem"
  netrc_file = "/home/builder/.netrc"
}
`,
	Attrs: []hclconf.Attr{
		{Name: "ca_file", Type: cty.String, Doc: "PEM file of certificate authorities that are trusted beside the system's."},
		{Name: "cert_file", Type: cty.String, Doc: "PEM client certificate for mutual TLS, with `key_file`."},
		{Name: "key_file", Type: cty.String, Doc: "PEM key of the client certificate."},
		{Name: "netrc_file", Type: cty.String, Doc: "Credentials for mirrors, in netrc format."},
		{Name: "insecure_registries", Type: cty.List(cty.String), Doc: "Registries (`HOST` or `HOST:PORT`) that may be spoken to without TLS. Loopback always may."},
	},
}

// LoadConfig reads a configuration file; one that does not exist is an empty one.
func LoadConfig(path string) (Config, error) {
	if path == "" {
		return Config{}, nil
	}
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return Config{}, nil
	}
	conf := hclconf.Load(os.DirFS(filepath.Dir(path)), filepath.Base(path), hclconf.Inputs{})
	c := Config{Mirrors: map[string][]string{}}
	blocks := conf.Split(ConfigSchemas)
	seen := map[string]bool{}
	for _, b := range conf.Scope.Each(blocks["mirror"], mirrorSchema) {
		if seen[b.Labels[0].Text] {
			conf.Report.Errorf(b.Range, fmt.Sprintf("a second `mirror` block for %q", b.Labels[0].Text), "Put both lists of `urls` together.")
		}
		seen[b.Labels[0].Text] = true
		urls := texts(b, "urls")
		if name := b.Labels[0].Text; name == "snapshot" && len(urls) > 0 {
			c.Snapshot = urls[0]
		} else {
			c.Mirrors[name] = urls
		}
	}
	for _, b := range conf.Scope.Each(blocks["network"], networkSchema) {
		c.CAFile, _ = b.Text("ca_file")
		c.CertFile, _ = b.Text("cert_file")
		c.KeyFile, _ = b.Text("key_file")
		c.Netrc, _ = b.Text("netrc_file")
		c.Insecure = texts(b, "insecure_registries")
	}
	if list := conf.Report.List(); list.HasErrors() {
		return Config{}, &diag.Findings{List: list, Exit: diag.ExitUsage}
	}
	return c, nil
}

func texts(b *hclconf.Block, name string) []string {
	list, ok := b.Attrs[name]
	if !ok {
		return nil
	}
	var out []string
	for _, item := range list.Items() {
		out = append(out, item.Value.AsString())
	}
	return out
}
