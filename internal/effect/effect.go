// Package effect knows what maintainer scripts would have done, without running them.
//
// A record states the effects of one script of one package, pinned by the script's
// digest, after a person has read the script. Records of the archive's common packages
// are compiled in (README.md says how one is made); a directory of templates can add
// its own. A script that dpkg would run at a first installation and that has no record
// stops the build.
package effect

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"forge/internal/debian/deb"
	"forge/internal/diag"
	"forge/internal/rootfs"
	"forge/internal/spec"
)

//go:embed records/*.json
var embedded embed.FS

// Record is a reviewed script-effect record that is compiled in. The files in records
// hold a list of them, one file a package.
type Record struct {
	spec.Script
	Versions []string `json:"versions"` // package versions whose script it was seen in, for the reader
}

// Records gives the compiled-in records of one package.
func Records(pkg string) ([]Record, error) {
	name := "records/" + pkg + ".json"
	data, err := embedded.ReadFile(name)
	if err != nil {
		return nil, nil // no file: no record
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var list []Record
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return list, nil
}

// Packages lists the packages that have compiled-in records, sorted.
func Packages() ([]string, error) {
	files, err := fs.Glob(embedded, "records/*.json")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(f, "records/"), ".json"))
	}
	return names, nil
}

// Match gives the effects of one package's scripts, in the order config, preinst,
// postinst. extra are the template directory's own records; they go before the
// compiled-in ones. A script without a record is a diag.UnknownScript whose text lists
// the script's commands and whose next step is the block to write.
func Match(pkg string, scripts []deb.Script, extra []spec.Script) ([]spec.Effect, error) {
	known, err := Records(pkg)
	if err != nil {
		return nil, err
	}
	candidates := slices.Clone(extra)
	for _, r := range known {
		candidates = append(candidates, r.Script)
	}
	var effects []spec.Effect
	for _, s := range inOrder(scripts) {
		if harmless(s) {
			continue
		}
		digest := digestOf(s.Data)
		i := slices.IndexFunc(candidates, func(c spec.Script) bool {
			return c.Package == pkg && c.Script == s.Name && c.SHA256 == digest
		})
		if i < 0 {
			return nil, unknown(pkg, s, digest)
		}
		for _, e := range candidates[i].Effects {
			if err := rootfs.CheckEffect(e); err != nil {
				return nil, fmt.Errorf("record of package %q, script %q: %w", pkg, s.Name, err)
			}
		}
		effects = append(effects, candidates[i].Effects...)
	}
	return effects, nil
}

// order is that of a first installation; a script that is not in it does not run then.
var order = []string{"config", "preinst", "postinst", "triggers", "prerm", "postrm"}

func inOrder(scripts []deb.Script) []deb.Script {
	scripts = slices.Clone(scripts)
	slices.SortStableFunc(scripts, func(a, b deb.Script) int {
		return slices.Index(order, a.Name) - slices.Index(order, b.Name)
	})
	return scripts
}

// harmless tells whether a script needs no record: it runs only when the package is
// removed or upgraded, or it declares triggers and no more.
func harmless(s deb.Script) bool {
	switch s.Name {
	case "prerm", "postrm":
		return true
	case "triggers":
		return declaresOnly(s.Data)
	}
	return false
}

// declaresOnly tells whether a triggers file holds nothing but deb-triggers(5)
// directives. They run no code of their own: an activated trigger runs the postinst of
// a package that is interested, and that script needs a record itself.
func declaresOnly(data []byte) bool {
	directives := []string{
		"interest", "interest-await", "interest-noawait",
		"activate", "activate-await", "activate-noawait",
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 || !slices.Contains(directives, words[0]) {
			return false
		}
	}
	return true
}

// unknown is the error for a script without a record.
func unknown(pkg string, s deb.Script, digest string) error {
	return diag.Errorf(diag.UnknownScript,
		fmt.Sprintf("Read the script; if the image needs none of what it does, or you can say what it needs, add to the template directory:\n\n%s", block(pkg, s.Name, digest)),
		"package %q has a %s (sha256 %s) that no record covers; it runs: %s",
		pkg, s.Name, digest, strings.Join(Commands(s.Data), ", "))
}

func block(pkg, script, digest string) string {
	return fmt.Sprintf(`script %q %q {
  sha256  = %q
  effects = [{ op = "none" }]
  why     = "..."
}
`, pkg, script, digest)
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
