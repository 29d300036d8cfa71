package build

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"forge/internal/spec"
)

// Image is one image on one platform: its manifest and config, whose bytes are whole
// here, and its layers, whose bytes are in the store.
type Image struct {
	Name     string
	Platform string
	Manifest []byte
	Config   []byte
	Layers   []Layer // bottom first

	version    string
	descriptor ocispecs.Descriptor // of Manifest, with platform
}

// Digest is the manifest's.
func (m *Image) Digest() digest.Digest { return m.descriptor.Digest }

// Result is one image on all its platforms.
type Result struct {
	Name    string
	Version string
	Index   []byte   // OCI image index over Images
	Images  []*Image // by platform
}

// Digest is the index's.
func (r *Result) Digest() digest.Digest { return digest.FromBytes(r.Index) }

// maxHistory bounds one history entry, in bytes; package names beyond it are counted.
const maxHistory = 1024

// Assemble makes config and manifest of an image. Only arguments enter: equal ones give
// equal bytes.
func Assemble(img *spec.Image, platform string, created time.Time, layers []Layer) (*Image, error) {
	p, err := platforms.Parse(platform)
	if err != nil {
		return nil, fmt.Errorf("reading platform %q: %w", platform, err)
	}
	p = platforms.Normalize(p) // linux/arm64 has no variant, as BuildKit writes it
	created = created.UTC().Truncate(time.Second)
	config, err := json.Marshal(ocispecs.Image{
		Created:  &created,
		Platform: p,
		Config:   imageConfig(img),
		RootFS:   ocispecs.RootFS{Type: "layers", DiffIDs: diffIDs(layers)},
		History:  history(layers, created),
	})
	if err != nil {
		return nil, fmt.Errorf("marshalling the config of %q: %w", img.Name, err)
	}
	manifest, err := json.Marshal(ocispecs.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispecs.MediaTypeImageManifest,
		Config:      describe(ocispecs.MediaTypeImageConfig, config),
		Layers:      layerDescriptors(layers),
		Annotations: annotations(img, created),
	})
	if err != nil {
		return nil, fmt.Errorf("marshalling the manifest of %q: %w", img.Name, err)
	}
	d := describe(ocispecs.MediaTypeImageManifest, manifest)
	d.Platform = &p
	return &Image{Name: img.Name, Platform: platform, Manifest: manifest, Config: config, Layers: layers, version: img.Version, descriptor: d}, nil
}

// Join makes the index over one image's platforms.
func Join(images []*Image) (*Result, error) {
	images = slices.SortedFunc(slices.Values(images), func(a, b *Image) int { return strings.Compare(a.Platform, b.Platform) })
	index := ocispecs.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex}
	for _, m := range images {
		index.Manifests = append(index.Manifests, m.descriptor)
	}
	var first ocispecs.Manifest
	if err := json.Unmarshal(images[0].Manifest, &first); err != nil {
		return nil, fmt.Errorf("reading an own manifest: %w", err)
	}
	// Created may differ between platforms, which have their own packages.
	index.Annotations = maps.Clone(first.Annotations)
	delete(index.Annotations, ocispecs.AnnotationCreated)
	data, err := json.Marshal(index)
	if err != nil {
		return nil, fmt.Errorf("marshalling the index of %q: %w", images[0].Name, err)
	}
	return &Result{Name: images[0].Name, Version: images[0].version, Index: data, Images: images}, nil
}

func imageConfig(img *spec.Image) ocispecs.ImageConfig {
	c := img.Config
	out := ocispecs.ImageConfig{
		User: c.User, WorkingDir: c.Workdir, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		Labels: labels(img), StopSignal: c.StopSignal,
	}
	for _, k := range slices.Sorted(maps.Keys(c.Env)) {
		out.Env = append(out.Env, k+"="+c.Env[k])
	}
	if len(c.Ports) > 0 {
		out.ExposedPorts = set(c.Ports)
	}
	if len(c.Volumes) > 0 {
		out.Volumes = set(c.Volumes)
	}
	return out
}

func set(keys []string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, k := range keys {
		m[k] = struct{}{}
	}
	return m
}

// labels are the template's, and the OCI names for what the template says of itself.
func labels(img *spec.Image) map[string]string {
	out := map[string]string{
		ocispecs.AnnotationTitle:   img.Name,
		ocispecs.AnnotationVersion: img.Version,
	}
	if img.Description != "" {
		out[ocispecs.AnnotationDescription] = img.Description
	}
	maps.Copy(out, img.Config.Labels)
	return out
}

// annotations repeat the OCI labels where registries look for them.
func annotations(img *spec.Image, created time.Time) map[string]string {
	out := map[string]string{ocispecs.AnnotationCreated: created.Format(time.RFC3339)}
	for k, v := range labels(img) {
		if strings.HasPrefix(k, "org.opencontainers.image.") {
			out[k] = v
		}
	}
	return out
}

func diffIDs(layers []Layer) []digest.Digest {
	ids := make([]digest.Digest, len(layers))
	for i, l := range layers {
		ids[i] = l.DiffID
	}
	return ids
}

func layerDescriptors(layers []Layer) []ocispecs.Descriptor {
	out := make([]ocispecs.Descriptor, len(layers))
	for i, l := range layers {
		out[i] = ocispecs.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
	}
	return out
}

func history(layers []Layer, created time.Time) []ocispecs.History {
	out := make([]ocispecs.History, len(layers))
	for i, l := range layers {
		out[i] = ocispecs.History{Created: &created, CreatedBy: "forge " + l.Title + packageList(l.Packages)}
	}
	return out
}

func packageList(packages []string) string {
	var b strings.Builder
	for i, p := range packages {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		if b.Len()+len(sep)+len(p) > maxHistory {
			fmt.Fprintf(&b, " and %d more", len(packages)-i)
			break
		}
		b.WriteString(sep + p)
	}
	return b.String()
}

func describe(mediaType string, data []byte) ocispecs.Descriptor {
	return ocispecs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
