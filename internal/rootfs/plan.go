// Package rootfs turns package files and template files into the file tree of one
// image layer, deterministically.
//
// It runs inside the build as a small static program (rootfs/layout), with no network
// and nothing but its inputs, and in the client, where the same code works out what a
// layer must hold. It therefore stays tiny: standard library, xz and zstd.
package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"forge/internal/spec"
)

// PlanVersion is the version of the plan's meaning; a change of any byte that a layer
// holds for the same inputs is a new version (and a new lock.LayoutVersion).
const PlanVersion = 1

// Plan tells the layout program everything about one layer. It is data of the build:
// the same plan and the same packages give the same layer on every machine. Exactly
// one of Packages (a package layer) and Finish (the image's last layer) is set.
type Plan struct {
	Version  int                 `json:"version"`
	Packages []PlanPackage       `json:"packages,omitempty"` // in the order they are laid out: by name
	Prune    []string            `json:"prune,omitempty"`    // named path sets, see PruneSets
	Drop     map[string][]string `json:"drop,omitempty"`     // package -> paths not laid out, because another package replaces them
	Finish   *Finish             `json:"finish,omitempty"`
}

// PlanPackage is one package file, found as <input dir>/<SHA256>/blob.
type PlanPackage struct {
	Name   string `json:"name"`
	Arch   string `json:"arch"`
	SHA256 string `json:"sha256"`
}

// Finish is an image's last layer: accounts, template files and script effects. Its
// input directories are the layers below, in order, read-only.
type Finish struct {
	Users       []spec.User      `json:"users"`
	Groups      []spec.Group     `json:"groups"`
	Files       []spec.File      `json:"files"` // content found as <input dir>/<SHA256>/blob
	Directories []spec.Directory `json:"directories"`
	Symlinks    []spec.Symlink   `json:"symlinks"`
	Effects     []spec.Effect    `json:"effects"` // of the packages' scripts, in package order

	// Restore states again the directories about whose attributes the layers below
	// disagree, see Settle.
	Restore []spec.Directory `json:"restore,omitempty"`
}

// maxPlan bounds a plan file, in bytes.
const maxPlan = 64 << 20

// ReadPlan reads a plan strictly: unknown fields, another version, both or neither of
// packages and finish, unknown prune sets and unclean names are errors.
func ReadPlan(r io.Reader) (*Plan, error) {
	d := json.NewDecoder(io.LimitReader(r, maxPlan))
	d.DisallowUnknownFields()
	p := new(Plan)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("reading the plan: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("reading the plan: %w", err)
	}
	return p, nil
}

func (p *Plan) check() error {
	if p.Version != PlanVersion {
		return fmt.Errorf("plan version %d is not %d", p.Version, PlanVersion)
	}
	if (len(p.Packages) > 0) == (p.Finish != nil) {
		return errors.New("plan has not exactly one of packages and finish")
	}
	seen := map[string]bool{}
	for _, q := range p.Packages {
		if seen[q.Name] || !packageName.MatchString(q.Name) {
			return fmt.Errorf("package %q is named twice or not a name", q.Name)
		}
		seen[q.Name] = true
	}
	_, err := newPruner(p.Prune)
	return err
}

// packageName is Debian policy 5.6.7, bounded.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,127}$`)
