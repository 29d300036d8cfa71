package rootfs

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"forge/internal/spec"
)

// Where ca-certificates keeps its certificates, administrators theirs, and programs
// look for all of them.
const (
	sharedCertificates = "/usr/share/ca-certificates"
	localCertificates  = "/usr/local/share/ca-certificates"
	caBundle           = "/etc/ssl/certs/ca-certificates.crt"
	javaStore          = "/etc/ssl/certs/java/cacerts"
)

// certificate is one certificate file of the image.
type certificate struct {
	path string
	pem  []byte
}

// certificates reads every certificate of the image, by path: the distribution's, then
// the local ones.
func (f *finisher) certificates() ([]certificate, error) {
	var list []certificate
	for _, dir := range []string{sharedCertificates, localCertificates} {
		entries, err := f.below.Under(dir)
		if err != nil {
			return nil, err
		}
		paths := map[string]bool{}
		for _, e := range entries {
			paths[e.Path] = e.Type != TypeSymlink && strings.HasSuffix(e.Path, ".crt")
		}
		for path, e := range f.tree {
			if strings.HasPrefix(path, dir+"/") {
				paths[path] = e.Type == TypeFile && strings.HasSuffix(path, ".crt")
			}
		}
		for _, path := range sortedKeys(paths) {
			data, err := f.read(path)
			if err != nil {
				return nil, err
			}
			if block, _ := pem.Decode(data); block == nil || block.Type != "CERTIFICATE" {
				return nil, fmt.Errorf("file %q is not a PEM certificate", path)
			}
			list = append(list, certificate{path, data})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no certificate below %s", sharedCertificates)
	}
	return list, nil
}

// sortedKeys gives the keys whose value is true.
func sortedKeys(m map[string]bool) []string {
	var keys []string
	for k, yes := range m {
		if yes {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// opCABundle does what update-ca-certificates does for the bundle. It makes no link
// for each certificate: OpenSSL, GnuTLS, Go and Python all read the bundle.
func (f *finisher) opCABundle(spec.Effect) error {
	data, err := f.bundle()
	if err != nil {
		return err
	}
	return f.offer(newFile(caBundle, 0o644, data, "effect:ca-bundle"))
}

func (f *finisher) bundle() ([]byte, error) {
	list, err := f.certificates()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, c := range list {
		b.Write(c.pem)
		if !bytes.HasSuffix(c.pem, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), nil
}

// localCertificates makes the bundle anew where this template adds certificates to a
// parent that has a bundle.
func (f *finisher) localCertificates() error {
	adds := slices.ContainsFunc(f.plan.Files, func(x spec.File) bool {
		return strings.HasPrefix(x.Path, localCertificates+"/") && strings.HasSuffix(x.Path, ".crt")
	})
	_, made := f.tree[caBundle]
	if _, ok, err := f.below.Lookup(caBundle); !adds || made || !ok || err != nil {
		return err
	}
	data, err := f.bundle()
	if err != nil {
		return err
	}
	return f.place(newFile(caBundle, 0o644, data, "effect:ca-bundle"))
}

// opJavaCACerts writes the trust store that ca-certificates-java makes with keytool: a
// JKS of version 2 with the customary password, which guards nothing but integrity.
func (f *finisher) opJavaCACerts(spec.Effect) error {
	list, err := f.certificates()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	word := func(n int) { binary.Write(&b, binary.BigEndian, uint32(n)) }
	word(0xFEEDFEED)
	word(2)
	word(len(list))
	for _, c := range list {
		block, _ := pem.Decode(c.pem)
		alias := "debian:" + strings.ToLower(strings.TrimSuffix(base(c.path), ".crt")) + ".pem"
		word(2) // a trusted certificate
		javaString(&b, alias)
		binary.Write(&b, binary.BigEndian, uint64(GeneratedTime)*1000)
		javaString(&b, "X.509")
		word(len(block.Bytes))
		b.Write(block.Bytes)
	}
	h := sha1.New()
	for _, u := range utf16.Encode([]rune("changeit")) {
		h.Write([]byte{byte(u >> 8), byte(u)})
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(b.Bytes())
	return f.offer(newFile(javaStore, 0o644, h.Sum(b.Bytes()), "effect:java-cacerts"))
}

// javaString writes as DataOutput.writeUTF does; certificates' names hold neither NUL
// nor characters beyond 16 bits, for which its encoding is not UTF-8.
func javaString(b *bytes.Buffer, s string) {
	binary.Write(b, binary.BigEndian, uint16(len(s)))
	b.WriteString(s)
}
