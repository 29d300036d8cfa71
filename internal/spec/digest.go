package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// Image finds an image by name; nil when the set has none.
func (s *Set) Image(name string) *Image {
	i := slices.IndexFunc(s.Images, func(m Image) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Images[i]
}

// Lineage lists an image's ancestors and itself, the root first.
func (s *Set) Lineage(name string) []*Image {
	var line []*Image
	for m := s.Image(name); m != nil && len(line) <= len(s.Images); m = s.Image(m.Parent) {
		line = append(line, m)
	}
	slices.Reverse(line)
	return line
}

// ImageDigest is the SHA-256, in hex, of the part of the set that makes one image's
// bytes: its lineage, and the script-effect records of the directory. Versions and
// descriptions count (they stand in the image's config), archives' urls and ages do not.
func (s *Set) ImageDigest(name string) string {
	type archive struct {
		Name, Kind, Snapshot, AsOf string
		Suites, Components         []string
		Keyring                    string
	}
	var in struct {
		Archives []archive
		Scripts  []Script
		Lineage  []*Image
	}
	in.Scripts = s.Scripts
	in.Lineage = s.Lineage(name)
	used := map[string]bool{}
	for _, m := range in.Lineage {
		for _, a := range m.Packages.Archives {
			used[a] = true
		}
	}
	for _, a := range s.Archives {
		if used[a.Name] {
			in.Archives = append(in.Archives, archive{a.Name, a.Kind, a.Snapshot, a.AsOf, a.Suites, a.Components, a.Keyring.SHA256})
		}
	}
	data, err := json.Marshal(in)
	if err != nil {
		panic(fmt.Sprintf("spec: a plain value did not marshal: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
