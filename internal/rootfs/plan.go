// Package rootfs turns package files and template files into the file tree of one
// image layer, deterministically.
//
// It runs inside the build as a small static program (rootfs/layout), with no network
// and nothing but its inputs, and in the client, where the same code works out what a
// layer must hold. It therefore stays tiny: standard library, xz and zstd.
package rootfs

import "forge/internal/spec"

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

// PlanPackage is one package file, found as <input dir>/<SHA256>.deb.
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
	Files       []spec.File      `json:"files"` // content found as <input dir>/<SHA256>
	Directories []spec.Directory `json:"directories"`
	Symlinks    []spec.Symlink   `json:"symlinks"`
	Effects     []spec.Effect    `json:"effects"` // of the packages' scripts, in package order
}
