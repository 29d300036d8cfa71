package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"forge/internal/diag"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// Inspection says what an image is. Nothing in it is verified but that all content has
// the digest it is named by.
type Inspection struct {
	Version   int        `json:"version"` // 1
	Reference string     `json:"reference"`
	Digest    string     `json:"digest"`
	MediaType string     `json:"media_type"`
	Platforms []Platform `json:"platforms"`
	// Evidence hangs on Digest; a platform's own on the platform. Null where it could
	// not be looked for, as in an OCI layout.
	Evidence []Evidence `json:"evidence"`
	Verified bool       `json:"verified"` // always false: forge verify checks
}

// Platform is one image of an index, or the only one.
type Platform struct {
	Platform     string            `json:"platform"` // "linux/amd64"
	Digest       string            `json:"digest"`
	Created      string            `json:"created,omitempty"` // RFC 3339
	Size         int64             `json:"size"`              // bytes to pull: manifest, config and layers
	Uncompressed int64             `json:"uncompressed"`      // bytes of all layers as tar; 0 where unknown
	User         string            `json:"user"`
	Workdir      string            `json:"workdir,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Env          []string          `json:"env,omitempty"`
	Ports        []string          `json:"ports,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Layers       []Layer           `json:"layers"`
	Packages     []Package         `json:"packages"`          // sorted by name; null where unknown
	Unknown      string            `json:"unknown,omitempty"` // why Packages and Uncompressed are unknown
	Evidence     []Evidence        `json:"evidence"`          // null as in Inspection
}

// Layer is one layer, the lowest first.
type Layer struct {
	Digest       string `json:"digest"`
	DiffID       string `json:"diff_id"`
	MediaType    string `json:"media_type"`
	Size         int64  `json:"size"`
	Uncompressed int64  `json:"uncompressed"` // 0 where unknown
	CreatedBy    string `json:"created_by,omitempty"`
}

// Package is an installed Debian package, as dpkg's status names it.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
}

// InspectOptions refine Inspect.
type InspectOptions struct {
	Platform string // only this one, as "linux/amd64"
	Shallow  bool   // do not download layers: packages and uncompressed sizes stay unknown
}

// Inspect reads what an image is. ref is a registry reference or "oci:PATH" with a
// layout's directory or tar file.
func (c *Client) Inspect(ctx context.Context, ref string, opt InspectOptions) (Inspection, error) {
	if path, ok := strings.CutPrefix(ref, "oci:"); ok {
		return c.inspectLayout(ctx, ref, path, opt)
	}
	parsed, err := c.Reference(ref)
	if err != nil {
		return Inspection{}, err
	}
	p, err := c.get(ctx, parsed)
	if err != nil {
		return Inspection{}, fault(err, parsed.Context().RegistryStr(), "reading %q", ref)
	}
	src := &repository{client: c, repo: parsed.Context()}
	in, err := c.inspect(ctx, src, v1.Descriptor{Digest: p.digest, MediaType: p.media, Size: int64(len(p.raw))}, opt)
	if err != nil {
		return Inspection{}, fault(err, parsed.Context().RegistryStr(), "inspecting %q", ref)
	}
	in.Reference = ref
	return in, c.addEvidence(ctx, parsed.Context(), &in)
}

func (c *Client) inspectLayout(ctx context.Context, ref, path string, opt InspectOptions) (Inspection, error) {
	l, err := OpenLayout(path)
	if err != nil {
		return Inspection{}, err
	}
	defer l.Close()
	in, err := c.inspect(ctx, l, l.Root, opt)
	if err != nil {
		return Inspection{}, fault(err, "layout", "inspecting %q", ref)
	}
	in.Reference = ref
	return in, nil
}

func (c *Client) addEvidence(ctx context.Context, repo name.Repository, in *Inspection) error {
	var err error
	if in.Evidence, err = c.Evidence(ctx, repo.Digest(in.Digest)); err != nil {
		return err
	}
	for i := range in.Platforms {
		p := &in.Platforms[i]
		if p.Digest == in.Digest {
			p.Evidence = in.Evidence
			continue
		}
		if p.Evidence, err = c.Evidence(ctx, repo.Digest(p.Digest)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) inspect(ctx context.Context, src source, root v1.Descriptor, opt InspectOptions) (Inspection, error) {
	m, _, err := read(ctx, src, root)
	if err != nil {
		return Inspection{}, err
	}
	in := Inspection{Version: 1, Digest: root.Digest.String(), MediaType: string(m.media(root.MediaType))}
	children := []v1.Descriptor{root}
	if m.index != nil {
		children = images(m.index)
	}
	for _, d := range children {
		if d.Platform != nil && opt.Platform != "" && d.Platform.String() != opt.Platform {
			continue
		}
		p, err := c.platform(ctx, src, d, opt)
		if err != nil {
			return Inspection{}, err
		}
		if opt.Platform == "" || p.Platform == opt.Platform {
			in.Platforms = append(in.Platforms, p)
		}
	}
	if len(in.Platforms) == 0 {
		return Inspection{}, diag.Errorf(diag.ImageNotFound, "Leave --platform out to see what there is.", "no image for platform %q in %s", opt.Platform, in.Digest)
	}
	return in, nil
}

// images are the index's runnable images; BuildKit's attestation manifests are not.
func images(idx *v1.IndexManifest) []v1.Descriptor {
	var list []v1.Descriptor
	for _, d := range idx.Manifests {
		if d.MediaType.IsImage() && (d.Platform == nil || d.Platform.OS != "unknown") {
			list = append(list, d)
		}
	}
	return list
}

func (c *Client) platform(ctx context.Context, src source, d v1.Descriptor, opt InspectOptions) (Platform, error) {
	m, raw, err := read(ctx, src, d)
	if err != nil {
		return Platform{}, err
	}
	if m.image == nil {
		return Platform{}, fmt.Errorf("%w: %s is an index inside an index", errContent, d.Digest)
	}
	var cfg *v1.ConfigFile
	err = c.again(ctx, func() (err error) {
		cfg, err = readConfig(ctx, src, m.image)
		return err
	})
	if err != nil {
		return Platform{}, err
	}
	p := Platform{
		Platform: platformName(d, cfg), Digest: d.Digest.String(), Size: int64(len(raw)) + m.image.Config.Size,
		User: cfg.Config.User, Workdir: cfg.Config.WorkingDir, Entrypoint: cfg.Config.Entrypoint, Cmd: cfg.Config.Cmd,
		Env: cfg.Config.Env, Labels: cfg.Config.Labels, Ports: keys(cfg.Config.ExposedPorts),
	}
	if !cfg.Created.IsZero() {
		p.Created = cfg.Created.UTC().Format(time.RFC3339)
	}
	by := createdBy(cfg)
	for i, l := range m.image.Layers {
		p.Size += l.Size
		p.Layers = append(p.Layers, Layer{Digest: l.Digest.String(), DiffID: cfg.RootFS.DiffIDs[i].String(), MediaType: string(l.MediaType), Size: l.Size, CreatedBy: by[i]})
	}
	if opt.Shallow {
		p.Unknown = "layers were not downloaded"
		return p, nil
	}
	return p, c.addContents(ctx, src, m.image.Layers, &p)
}

// platformName is the config's platform, the descriptor's where the config has none.
func platformName(d v1.Descriptor, cfg *v1.ConfigFile) string {
	if cfg.OS != "" {
		return cfg.Platform().String()
	}
	if d.Platform != nil {
		return d.Platform.String()
	}
	return "unknown"
}

// createdBy assigns history to layers; with fewer entries than layers the rest is "".
func createdBy(cfg *v1.ConfigFile) []string {
	by := make([]string, len(cfg.RootFS.DiffIDs))
	i := 0
	for _, h := range cfg.History {
		if !h.EmptyLayer && i < len(by) {
			by[i] = h.CreatedBy
			i++
		}
	}
	return by
}

// addContents reads every layer for its uncompressed size and dpkg's records.
func (c *Client) addContents(ctx context.Context, src source, layers []v1.Descriptor, p *Platform) error {
	var total int64
	for _, l := range layers {
		total += l.Size
	}
	if total > maxInspect {
		p.Unknown = fmt.Sprintf("layers of %s are too large to look through", humanSize(total))
		return nil
	}
	found := make([]records, len(layers))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(c.opt.Jobs)
	for i, d := range layers {
		group.Go(func() error {
			return c.again(inner, func() (err error) {
				found[i], err = scanLayer(inner, src, d, p.Layers[i].DiffID)
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, f := range found {
		p.Layers[i].Uncompressed = f.size
		p.Uncompressed += f.size
	}
	p.Packages = merge(found)
	return nil
}

func keys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
