package evidence

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"forge/internal/attest"
	"forge/internal/attest/key"
	"forge/internal/diag"
	"forge/internal/registry/registrytest"
)

// writer gives the means of someone who can write to the repository, and holds a key.
func (b *bench) writer(d name.Digest, k *key.Private) *attaching {
	b.t.Helper()
	have, err := read(context.Background(), b.client, d)
	b.ok(err)
	_, subject, err := b.client.Manifest(context.Background(), d)
	b.ok(err)
	return &attaching{AttachOptions: AttachOptions{Registry: b.client, Key: k}, ctx: context.Background(), d: d, have: have, subject: subject}
}

func (b *bench) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// envelope signs any bytes as if they were a statement.
func (b *bench) envelope(k *key.Private, statement []byte) []byte {
	b.t.Helper()
	sig, err := k.Sign(attest.PreAuth(statement))
	b.ok(err)
	data, err := attest.NewEnvelope(statement, sig).Encode()
	b.ok(err)
	return data
}

func (b *bench) statement(d name.Digest, kind string, predicate []byte) []byte {
	b.t.Helper()
	s, err := attest.NewStatement("static", d.DigestStr(), kind, predicate)
	b.ok(err)
	return s
}

// bundle attaches a bundle to d that says what the statement says.
func (b *bench) bundle(d name.Digest, k *key.Private, kind string, statement []byte) {
	b.t.Helper()
	b.ok(b.writer(d, k).bundle(kind, b.envelope(k, statement)))
}

// all lists the index and the images.
func (b *bench) all() []name.Digest { return append([]name.Digest{b.index}, b.images...) }

// bundles attaches bundles of all kinds to everything, but what leave says.
func (b *bench) bundles(k *key.Private, leave func(d name.Digest, kind string) bool) {
	b.t.Helper()
	for i, d := range b.all() {
		for _, kind := range []string{attest.TypeSignature, attest.TypeProvenance, attest.TypeCycloneDX} {
			predicate := []byte("{}")
			if kind == attest.TypeCycloneDX {
				if i == 0 {
					continue
				}
				predicate = b.sboms[i-1]
			}
			if !leave(d, kind) {
				b.bundle(d, k, kind, b.statement(d, kind, predicate))
			}
		}
	}
}

func TestTampering(t *testing.T) {
	ours, theirs := keys(t)
	tests := []struct {
		name   string
		tamper func(b *bench)
		want   diag.ID
		detail string // part of the error
	}{
		{"nothing there", func(*bench) {}, diag.NoSignature, "no image signature"},
		{"another key", func(b *bench) { b.attach(theirs, Bundle) },
			diag.SignatureWrong, ours.Fingerprint() + ": it says that it is signed by key " + theirs.Fingerprint()},
		{"attestations without a signature", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return kind == attest.TypeSignature })
		}, diag.NoSignature, ""},
		{"attestation labelled as a signature", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return kind == attest.TypeSignature })
			b.bundle(b.index, ours, attest.TypeSignature, b.statement(b.index, attest.TypeProvenance, []byte("{}")))
		}, diag.NoSignature, ""},
		{"signature without provenance", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return kind == attest.TypeProvenance })
		}, diag.EvidenceMissing, "provenance"},
		{"one image without an SBOM", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.images[1] && kind == attest.TypeCycloneDX })
		}, diag.EvidenceMissing, "SBOM"},
		{"index signed, image not", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.images[0] && kind == attest.TypeSignature })
		}, diag.NoSignature, ""},
		{"signature of another image", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.index && kind == attest.TypeSignature })
			b.bundle(b.index, ours, attest.TypeSignature, b.statement(b.images[0], attest.TypeSignature, []byte("{}")))
		}, diag.SignatureWrong, "another image"},
		{"legacy signature of another image", func(b *bench) {
			b.attach(ours, Both)
			img, err := remote.Image(legacyTag(b.images[0], "sig"))
			b.ok(err)
			b.ok(remote.Write(legacyTag(b.index, "sig"), img))
		}, diag.SignatureWrong, "another image"},
		{"legacy signature of another kind", func(b *bench) {
			b.attach(ours, Bundle)
			payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"other"}}`, b.index.DigestStr())
			b.simple(b.index, ours, payload)
		}, diag.SignatureWrong, "not an image signature"},
		{"legacy signature with doubled keys", func(b *bench) {
			b.attach(ours, Bundle)
			payload := fmt.Appendf(nil, `{"critical":{"image":{"docker-manifest-digest":"x","docker-manifest-digest":%q},"type":"cosign container image signature"}}`, b.index.DigestStr())
			b.simple(b.index, ours, payload)
		}, diag.SignatureWrong, "twice"},
		{"two subjects", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.index && kind == attest.TypeSignature })
			s := string(b.statement(b.index, attest.TypeSignature, []byte("{}")))
			s = strings.Replace(s, `"subject":[`, `"subject":[{"digest":{"sha256":"`+strings.Repeat("a", 64)+`"}},`, 1)
			b.bundle(b.index, ours, attest.TypeSignature, []byte(s))
		}, diag.SignatureWrong, "another image"},
		{"statement altered after signing", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.index && kind == attest.TypeProvenance })
			env := b.envelope(ours, b.statement(b.index, attest.TypeProvenance, []byte("{}")))
			other := base64.StdEncoding.EncodeToString(b.statement(b.index, attest.TypeProvenance, []byte(`{"a":1}`)))
			var e attest.Envelope
			b.ok(json.Unmarshal(env, &e))
			e.Payload = other
			env, err := e.Encode()
			b.ok(err)
			b.ok(b.writer(b.index, ours).bundle(attest.TypeProvenance, env))
		}, diag.SignatureWrong, "provenance"},
		{"signed, but not a statement", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.index && kind == attest.TypeSignature })
			b.bundle(b.index, ours, attest.TypeSignature, []byte("not JSON"))
		}, diag.NoSignature, ""},
		{"signed, with doubled keys", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.index && kind == attest.TypeSignature })
			s := string(b.statement(b.index, attest.TypeSignature, []byte("{}")))
			b.bundle(b.index, ours, attest.TypeSignature, []byte(strings.Replace(s, `"predicateType"`, `"predicateType":"x","predicateType"`, 1)))
		}, diag.NoSignature, ""},
		{"envelope with two payloads", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.index && kind == attest.TypeSignature })
			env := b.envelope(ours, b.statement(b.index, attest.TypeSignature, []byte("{}")))
			env = bytes.Replace(env, []byte(`"payload":`), []byte(`"Payload":"e30=","payload":`), 1)
			b.ok(b.writer(b.index, ours).bundle(attest.TypeSignature, env))
		}, diag.NoSignature, ""},
		{"bundle that relies on a certificate", func(b *bench) {
			b.bundles(ours, func(d name.Digest, kind string) bool { return d == b.index && kind == attest.TypeSignature })
			env := b.envelope(ours, b.statement(b.index, attest.TypeSignature, []byte("{}")))
			data := fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":{"certificate":{"rawBytes":"AAAA"}},"dsseEnvelope":%s}`, mediaBundle, env)
			b.ok(b.writer(b.index, ours).referrer(mediaBundle, data, nil))
		}, diag.SignatureWrong, "bundle"},
		{".sig by our key, bundle by another", func(b *bench) {
			b.attach(ours, Legacy)
			b.bundle(b.index, theirs, attest.TypeSignature, b.statement(b.index, attest.TypeSignature, []byte("{}")))
		}, diag.SignatureWrong, "(bundle)"},
		{"bundle by our key, .sig by another", func(b *bench) {
			b.attach(ours, Bundle)
			b.attach(theirs, Legacy)
		}, diag.SignatureWrong, "(legacy)"},
		{"SBOM of something else, signed", func(b *bench) {
			b.sboms[0] = sbom(b.t, b.images[0].DigestStr(), "amd64", "base-files 13", "bash 5.2")
			b.attach(ours, Both)
		}, diag.SBOMDiffers, "does not name what the image holds: libc6 2.41-12 amd64; the SBOM names what the image does not hold: bash 5.2 amd64"},
		{"SBOM of another version, signed", func(b *bench) {
			b.sboms[0] = sbom(b.t, b.images[0].DigestStr(), "amd64", "base-files 13", "libc6 2.41-11")
			b.attach(ours, Both)
		}, diag.SBOMDiffers, "libc6 2.41-11"},
		{"not an SBOM, signed", func(b *bench) {
			b.sboms[0] = []byte(`{"components":[]}`)
			b.attach(ours, Both)
		}, diag.SBOMDiffers, "not a CycloneDX document"},
		{"raw SBOM swapped", func(b *bench) {
			b.attach(ours, Both)
			b.ok(b.writer(b.images[0], ours).rawSBOM([]byte(`{"bomFormat":"CycloneDX"}`)))
		}, diag.SBOMDiffers, "unsigned"},
		{"the two forms differ", func(b *bench) {
			b.attach(ours, Legacy)
			b.bundles(ours, func(d name.Digest, kind string) bool { return false })
		}, diag.SignatureWrong, "differ"},
		{"a thousand legacy signatures", func(b *bench) {
			b.attach(ours, Both)
			m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: v1.Descriptor{Digest: b.subject(b.index)}}
			for range 1000 {
				m.Layers = append(m.Layers, v1.Descriptor{MediaType: mediaSimpleSigning, Digest: b.subject(b.index), Size: 1})
			}
			data, err := json.Marshal(m)
			b.ok(err)
			b.ok(remote.Put(legacyTag(b.index, "sig"), raw{data, types.OCIManifestSchema1}))
		}, diag.TooLarge, "1000 layers"},
		{"a thousand referrers", func(b *bench) {
			b.attach(ours, Both)
			im := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
			for range 1000 {
				im.Manifests = append(im.Manifests, v1.Descriptor{MediaType: types.OCIManifestSchema1, ArtifactType: string(mediaBundle), Digest: b.subject(b.images[0])})
			}
			data, err := json.Marshal(im)
			b.ok(err)
			b.ok(remote.Put(b.repo.Tag(strings.Replace(b.index.DigestStr(), ":", "-", 1)), raw{data, types.OCIImageIndex}))
		}, diag.TooLarge, "1000 pieces"},
		{"a blob larger than memory", func(b *bench) {
			b.attach(ours, Both)
			m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x","digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":1099511627776}]}`,
				types.OCIManifestSchema1, b.index.DigestStr(), mediaSimpleSigning, b.index.DigestStr())
			b.ok(remote.Put(legacyTag(b.index, "sig"), raw{m, types.OCIManifestSchema1}))
		}, diag.TooLarge, "1099511627776"},
		{"legacy manifest that is an index too", func(b *bench) {
			b.attach(ours, Both)
			m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"layers":[],"manifests":[]}`, types.OCIManifestSchema1)
			b.ok(remote.Put(legacyTag(b.index, "sig"), raw{m, types.OCIManifestSchema1}))
		}, diag.RegistryFault, "at once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.name != "a thousand referrers")
			tt.tamper(b)
			rep, err := b.verify(ours)
			wantID(t, err, tt.want)
			if err != nil && !strings.Contains(err.Error(), tt.detail) {
				t.Errorf("error is %q, want %q in it", err, tt.detail)
			}
			if rep != nil && rep.Verified {
				t.Error("the report says verified")
			}
		})
	}
}

// simple replaces the legacy signatures of d by one over any payload.
func (b *bench) simple(d name.Digest, k *key.Private, payload []byte) {
	b.t.Helper()
	sig, err := k.Sign(payload)
	b.ok(err)
	b.ok(b.writer(d, k).legacy("sig", nil, []legacyLayer{{mediaSimpleSigning, payload, map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)}}}))
}

func (b *bench) subject(d name.Digest) v1.Hash {
	b.t.Helper()
	h, err := v1.NewHash(d.DigestStr())
	b.ok(err)
	return h
}

// raw is a manifest of any bytes, ready to be put.
type raw struct {
	data []byte
	kind types.MediaType
}

func (m raw) RawManifest() ([]byte, error)        { return m.data, nil }
func (m raw) MediaType() (types.MediaType, error) { return m.kind, nil }

func TestVerifyWithoutKey(t *testing.T) {
	_, err := Verify(context.Background(), newBench(t, true).index, VerifyOptions{Registry: newClient(t)})
	wantID(t, err, diag.KeyInvalid)
}

func TestVerifyAbsentImage(t *testing.T) {
	ours, _ := keys(t)
	b := newBench(t, true)
	d := b.repo.Digest("sha256:" + strings.Repeat("a", 64))
	_, err := Verify(context.Background(), d, VerifyOptions{Registry: b.client, Keys: []*key.Public{&ours.Public}})
	wantID(t, err, diag.ImageNotFound)
}

func TestVerifyOneImage(t *testing.T) {
	ours, _ := keys(t)
	b := newBench(t, true)
	b.attach(ours, Both)
	b.index = b.images[1]
	rep, err := b.verify(ours)
	if err != nil || len(rep.Checked) != 1 || rep.Checked[0].Packages != 2 {
		t.Errorf("Verify of one image gave %+v, %v", rep, err)
	}
}

// TestVerifyReadsConfigsToTheirEnd swaps the config of an image for another of the same
// length: its platform must not be believed.
func TestVerifyReadsConfigsToTheirEnd(t *testing.T) {
	ours, _ := keys(t)
	b := newBench(t, true)
	b.attach(ours, Both)
	raw, _, err := b.client.Manifest(context.Background(), b.images[0])
	b.ok(err)
	m, err := parseManifest(raw)
	b.ok(err)
	b.index = b.images[0]
	b.server.Add(registrytest.Fault{Method: "GET", Path: "/blobs/" + m.Config.Digest.String(), Serve: registrytest.Alter(func(_ http.Header, body []byte) []byte {
		return bytes.Replace(body, []byte(`"os":""`), []byte(`"OS":""`), 1)
	})})
	_, err = b.verify(ours)
	wantID(t, err, diag.RegistryRefused)
}
