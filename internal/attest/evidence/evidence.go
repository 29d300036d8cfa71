// Package evidence keeps the evidence of an image beside it in a registry, and checks
// it there.
//
// Each statement is signed once and stored in two forms, so that both generations of
// tools find it: the legacy form (cosign's tags sha256-<hex>.sig and .att) and the
// bundle form (Sigstore bundles v0.3 as OCI referrers). The CycloneDX document also
// lies there raw, as the referrer that Trivy looks for.
//
// Everything read from a registry is hostile until a signature over its raw bytes has
// been checked: counts and sizes are capped, JSON that two readers could read
// differently is refused, and what cannot be read is never counted.
package evidence

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"forge/internal/diag"
)

// Format says in which forms evidence is written; the zero value means Both.
type Format string

// The formats of --evidence-format.
const (
	Both   Format = "both"
	Bundle Format = "bundle"
	Legacy Format = "legacy"
)

// ParseFormat reads the value of --evidence-format; "" means Both. Errors: diag.Usage.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case "":
		return Both, nil
	case Both, Bundle, Legacy:
		return f, nil
	}
	return "", diag.Errorf(diag.Usage, "Choose both, bundle or legacy.", "unknown evidence format %q", s)
}

func (f Format) legacy() bool { return f != Bundle }
func (f Format) bundle() bool { return f != Legacy }

const (
	mediaBundle        types.MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	mediaSimpleSigning types.MediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaEnvelope      types.MediaType = "application/vnd.dsse.envelope.v1+json"
	mediaCycloneDX     types.MediaType = "application/vnd.cyclonedx+json"
	mediaEmpty         types.MediaType = "application/vnd.oci.empty.v1+json"

	annotationSignature = "dev.cosignproject.cosign/signature"
	annotationPredicate = "predicateType"
	annotationContent   = "dev.sigstore.bundle.content"
	annotationType      = "dev.sigstore.bundle.predicateType"
)

// Bounds on what one manifest's evidence may be.
const (
	maxPieces   = 256      // referrers, or layers of one .sig or .att manifest
	maxManifest = 4 << 20  // bytes of one manifest
	maxBlob     = 32 << 20 // bytes of one bundle, envelope or SBOM
	maxTotal    = 96 << 20 // bytes of all of them together
)

// legacyTag is where cosign looks for the legacy form: sha256-<hex>.<suffix>.
func legacyTag(d name.Digest, suffix string) name.Tag {
	return d.Context().Tag(strings.Replace(d.DigestStr(), ":", "-", 1) + "." + suffix)
}

// absent reports whether the registry said that there is no such thing.
func absent(err error) bool { return diag.IDOf(err) == diag.ImageNotFound }
