package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"forge/internal/diag"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Forms of evidence: how it hangs on an image.
const (
	FormReferrer = "referrer" // a manifest with a subject (OCI image-spec 1.1)
	FormTag      = "tag"      // cosign's sha256-HEX.sig and .att tags
)

// maxReferrers bounds how many referrers of one digest are looked at.
const maxReferrers = 256

// Evidence is one signature, statement or document that hangs on a digest. It says
// what something claims to be: nothing here is verified.
type Evidence struct {
	Kind          string `json:"kind"` // signature, sbom, provenance, statement, other
	Form          string `json:"form"` // referrer or tag
	Digest        string `json:"digest"`
	ArtifactType  string `json:"artifact_type"` // of the manifest, or the layer's media type for a tag
	PredicateType string `json:"predicate_type,omitempty"`
}

// Referrers lists the descriptors of all manifests whose subject is d, from the
// referrers API or, where a registry has none, the fallback tag. Its size is bounded
// as that of one manifest.
func (c *Client) Referrers(ctx context.Context, d name.Digest) ([]v1.Descriptor, error) {
	var m *v1.IndexManifest
	err := c.again(ctx, func() error {
		idx, err := remote.Referrers(d, append(slices.Clone(c.remote), remote.WithContext(ctx), remote.Reuse(c.puller))...)
		if err == nil {
			m, err = idx.IndexManifest()
		}
		return err
	})
	if err != nil {
		return nil, fault(err, d.Context().RegistryStr(), "listing the referrers of %q", d)
	}
	return m.Manifests, nil
}

// Evidence lists what hangs on a digest, in both forms, sorted by kind, form and digest.
func (c *Client) Evidence(ctx context.Context, d name.Digest) ([]Evidence, error) {
	found := []Evidence{}
	refs, err := c.Referrers(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(refs) > maxReferrers {
		return nil, diag.Errorf(diag.RegistryRefused, "Find out who attaches so much to this image.",
			"listing the referrers of %q: %d of them, more than %d", d, len(refs), maxReferrers)
	}
	for _, r := range refs {
		e, err := c.referrer(ctx, d.Context(), r)
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	for _, suffix := range []string{".sig", ".att"} {
		tagged, err := c.tagged(ctx, d, suffix)
		if err != nil {
			return nil, err
		}
		found = append(found, tagged...)
	}
	slices.SortFunc(found, func(a, b Evidence) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Form, b.Form), cmp.Compare(a.PredicateType, b.PredicateType), cmp.Compare(a.Digest, b.Digest))
	})
	return found, nil
}

// referrer reads what a referrer is from its own manifest: registries differ in what
// they put into the list.
func (c *Client) referrer(ctx context.Context, repo name.Repository, r v1.Descriptor) (Evidence, error) {
	ref := repo.Digest(r.Digest.String())
	p, err := c.get(ctx, ref)
	if err != nil {
		return Evidence{}, fault(err, repo.RegistryStr(), "reading referrer %q", ref)
	}
	var m struct {
		ArtifactType string            `json:"artifactType"`
		Config       v1.Descriptor     `json:"config"`
		Annotations  map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(p.raw, &m); err != nil {
		return Evidence{}, diag.Errorf(diag.RegistryRefused, "", "reading referrer %q: %w", ref, err)
	}
	e := Evidence{
		Form: FormReferrer, Digest: r.Digest.String(),
		ArtifactType:  cmp.Or(m.ArtifactType, string(m.Config.MediaType)),
		PredicateType: m.Annotations["dev.sigstore.bundle.predicateType"],
	}
	e.Kind = kind(e)
	return e, nil
}

// tagged reads cosign's tag for a digest: one layer a signature or statement.
func (c *Client) tagged(ctx context.Context, d name.Digest, suffix string) ([]Evidence, error) {
	tag := d.Context().Tag(strings.Replace(d.DigestStr(), ":", "-", 1) + suffix)
	p, err := c.get(ctx, tag)
	if err != nil {
		err = fault(err, d.Context().RegistryStr(), "reading %q", tag)
		if diag.IDOf(err) == diag.ImageNotFound {
			return nil, nil
		}
		return nil, err
	}
	m, err := parse(p.raw, p.media)
	if err != nil || m.image == nil || len(m.image.Layers) > maxReferrers {
		return nil, diag.Errorf(diag.RegistryRefused, "", "reading %q: it is not what cosign writes", tag)
	}
	var found []Evidence
	for _, l := range m.image.Layers {
		e := Evidence{Form: FormTag, Digest: l.Digest.String(), ArtifactType: string(l.MediaType), PredicateType: l.Annotations["predicateType"]}
		e.Kind = kind(e)
		found = append(found, e)
	}
	return found, nil
}

// kind sorts evidence by what it claims to be.
func kind(e Evidence) string {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool {
			return strings.Contains(e.PredicateType, p) || e.PredicateType == "" && strings.Contains(e.ArtifactType, p)
		})
	}
	switch {
	case has("sigstore.dev/cosign/sign/", "simplesigning"):
		return "signature"
	case has("cyclonedx", "spdx"):
		return "sbom"
	case has("slsa.dev/provenance"):
		return "provenance"
	case e.PredicateType != "" || has("in-toto", "dsse", "sigstore.bundle"):
		return "statement"
	}
	return "other"
}
