package attest

import (
	"github.com/in-toto/in-toto-golang/in_toto"
	slsa "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"
)

// The project's own names. They are URNs until the project has a home; giving it one
// is a change of this file and of docs/build-type.md only.
const (
	// BuildType names the meaning of forge's provenance parameters, documented in
	// docs/build-type.md.
	BuildType = "urn:forge:build:v1"
	// LocalBuilder is the builder.id of a build that runs on the caller's own machine:
	// whoever holds the signing key vouches for everything in the provenance.
	LocalBuilder = "urn:forge:builder:local:v1"
)

// The predicate types of the statements that forge writes and reads.
const (
	TypeSignature  = "https://sigstore.dev/cosign/sign/v1"
	TypeCycloneDX  = in_toto.PredicateCycloneDX
	TypeProvenance = slsa.PredicateSLSAProvenance
)
