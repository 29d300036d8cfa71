// Package templates holds the project's own templates, so that `forge init` can start
// a directory from them.
package templates

import "embed"

// Debian is the directory of Debian templates: HCL files and the archives' keyring.
//
//go:embed debian/*.forge.hcl debian/debian-archive.asc
var Debian embed.FS
