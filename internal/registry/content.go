package registry

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// errContent is in the chain of every error about content that contradicts itself.
var errContent = errors.New("refused")

// Bounds on what one manifest may list.
const (
	maxLayers   = 4096
	maxChildren = 4096
)

// source reads content by digest, from a repository or an OCI layout. What it gives
// has the digest that was asked for; a blob is verified while it is read, to its end.
type source interface {
	manifest(ctx context.Context, d v1.Hash) ([]byte, types.MediaType, error)
	blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// manifest is an index or an image manifest, never both: exactly one field is set.
type manifest struct {
	index *v1.IndexManifest
	image *v1.Manifest
}

// media is the manifest's media type: its own, or the stated one where it has none.
func (m manifest) media(stated types.MediaType) types.MediaType {
	own := types.MediaType("")
	if m.index != nil {
		own = m.index.MediaType
	} else {
		own = m.image.MediaType
	}
	return cmp.Or(own, stated)
}

// parse reads a manifest of the media type that its referrer or the registry states.
// Bytes that two readers could take for two different things are refused.
func parse(raw []byte, stated types.MediaType) (manifest, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return manifest{}, fmt.Errorf("%w: manifest is not JSON: %v", errContent, err)
	}
	if err := unambiguous(raw); err != nil {
		return manifest{}, err
	}
	_, isIndex := fields["manifests"]
	_, hasLayers := fields["layers"]
	_, hasConfig := fields["config"]
	if isIndex == (hasLayers || hasConfig) {
		return manifest{}, fmt.Errorf("%w: manifest is not exactly one of index and image", errContent)
	}
	var own struct {
		SchemaVersion int64           `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &own); err != nil {
		return manifest{}, fmt.Errorf("%w: manifest: %v", errContent, err)
	}
	if own.MediaType == "" {
		own.MediaType = stated
	}
	if own.SchemaVersion != 2 || stated != "" && own.MediaType != stated || own.MediaType.IsIndex() != isIndex || !isIndex && !own.MediaType.IsImage() {
		return manifest{}, fmt.Errorf("%w: manifest calls itself %q, schema %d, and is served as %q", errContent, own.MediaType, own.SchemaVersion, stated)
	}
	return decode(raw, isIndex)
}

func decode(raw []byte, isIndex bool) (manifest, error) {
	var m manifest
	var err error
	if isIndex {
		if m.index, err = v1.ParseIndexManifest(bytes.NewReader(raw)); err == nil && len(m.index.Manifests) > maxChildren {
			err = fmt.Errorf("%d manifests", len(m.index.Manifests))
		}
	} else {
		if m.image, err = v1.ParseManifest(bytes.NewReader(raw)); err == nil && len(m.image.Layers) > maxLayers {
			err = fmt.Errorf("%d layers", len(m.image.Layers))
		}
	}
	if err != nil {
		return manifest{}, fmt.Errorf("%w: manifest: %v", errContent, err)
	}
	return m, nil
}

// manifestKeys are the top-level keys that decide what a manifest is.
var manifestKeys = []string{"schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "artifactType"}

// unambiguous refuses a top-level key that is there twice or in another case: readers
// differ in what they make of it.
func unambiguous(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("%w: manifest: %v", errContent, err)
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: manifest: %v", errContent, err)
		}
		key, _ := t.(string)
		if seen[strings.ToLower(key)] {
			return fmt.Errorf("%w: manifest has %q twice", errContent, key)
		}
		seen[strings.ToLower(key)] = true
		for _, known := range manifestKeys {
			if strings.EqualFold(key, known) && key != known {
				return fmt.Errorf("%w: manifest has %q for %q", errContent, key, known)
			}
		}
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return fmt.Errorf("%w: manifest: %v", errContent, err)
		}
	}
	return nil
}

// read reads and parses the manifest that a descriptor points at.
func read(ctx context.Context, src source, d v1.Descriptor) (manifest, []byte, error) {
	raw, served, err := src.manifest(ctx, d.Digest)
	if err != nil {
		return manifest{}, nil, err
	}
	if d.Size != 0 && d.Size != int64(len(raw)) {
		return manifest{}, nil, fmt.Errorf("%w: %s has %d bytes, its descriptor says %d", errContent, d.Digest, len(raw), d.Size)
	}
	stated := d.MediaType
	if stated == "" {
		stated = served
	}
	m, err := parse(raw, stated)
	return m, raw, err
}

// readConfig reads an image's config and checks that it fits the manifest.
func readConfig(ctx context.Context, src source, m *v1.Manifest) (*v1.ConfigFile, error) {
	if m.Config.Size > maxManifest {
		return nil, fmt.Errorf("%w: config has %d bytes", errContent, m.Config.Size)
	}
	rc, err := src.blob(ctx, m.Config)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	raw, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	var c v1.ConfigFile
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%w: config %s: %v", errContent, m.Config.Digest, err)
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("%w: config %s names %d layers, the manifest %d", errContent, m.Config.Digest, len(c.RootFS.DiffIDs), len(m.Layers))
	}
	return &c, nil
}

// verified reads exactly the bytes that a descriptor names, or fails.
type verified struct {
	io.ReadCloser
	want v1.Descriptor
	left int64
	sum  hash.Hash
}

func verify(rc io.ReadCloser, d v1.Descriptor) io.ReadCloser {
	return &verified{ReadCloser: rc, want: d, left: d.Size, sum: sha256.New()}
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.sum.Write(p[:n])
	v.left -= int64(n)
	if v.left < 0 {
		return 0, fmt.Errorf("%w: blob %s is longer than %d bytes", errContent, v.want.Digest, v.want.Size)
	}
	if err == io.EOF {
		if v.left != 0 {
			return n, fmt.Errorf("%w: blob %s ends %d bytes early", errContent, v.want.Digest, v.left)
		}
		if got := hex.EncodeToString(v.sum.Sum(nil)); v.want.Digest.Algorithm != "sha256" || got != v.want.Digest.Hex {
			return n, fmt.Errorf("%w: blob %s has the digest sha256:%s", errContent, v.want.Digest, got)
		}
	}
	return n, err
}
