package template

import (
	"github.com/zclconf/go-cty/cty"

	"forge/internal/hclconf"
)

var (
	text     = cty.String
	texts    = cty.List(cty.String)
	mapping  = cty.Map(cty.String)
	anything = cty.DynamicPseudoType
)

// top lists the blocks that stand in a template file beside variable and locals.
var top = []*hclconf.Schema{archiveSchema, templateSchema, scriptSchema}

var archiveSchema = &hclconf.Schema{
	Name: "archive", Labels: []string{"name"},
	Doc: "A package archive. Its mirror's address is not part of a template: forge finds it when it runs.",
	Example: `archive "debian" {
  kind       = "deb"
  suites     = ["trixie", "trixie-updates"]
  components = ["main"]
  keyring    = "debian-archive.asc"
}
`,
	Attrs: []hclconf.Attr{
		{Name: "kind", Type: text, Doc: "Kind of archive: `deb`. Default: `deb`."},
		{Name: "suites", Type: texts, Required: true, Doc: "Suites, such as `trixie`, in order of preference."},
		{Name: "components", Type: texts, Doc: "Components of each suite. Default: `[\"main\"]`."},
		{Name: "keyring", Type: text, Required: true, Doc: "File of the OpenPGP public keys that may sign the archive, relative to the directory."},
		{Name: "signed_by", Type: texts, Doc: "Fingerprints (40 hex digits) of the only keys of the keyring that may sign. With `!` at its end, exactly that key and not its subkeys."},
		{Name: "url", Type: text, Doc: "Root of an in-house archive. `FORGE_DEB_MIRROR` and the configuration file go before it, the apt sources of the machine after it."},
		{Name: "max_age", Type: text, Doc: "Oldest age of a release file, such as `168h` or `7d`; where the file has a Valid-Until too, the earlier counts. Default: `180d` for a file without Valid-Until."},
		{Name: "as_of", Type: text, Doc: "Day, `YYYY-MM-DD`, at most 30 days back, as of which Valid-Until and `max_age` are judged. Recorded in lock and provenance."},
		{Name: "snapshot", Type: text, Doc: "Moment, `YYYYMMDDTHHMMSSZ`, whose indexes and packages are taken from the archive's snapshot service."},
	},
}

var scriptSchema = &hclconf.Schema{
	Name: "script", Labels: []string{"package", "script"},
	Doc: "A script-effect record: what a package's maintainer script would have done and the image needs. Maintainer scripts never run; a script without a record stops the build, which prints a record to start from. The second label is `preinst`, `postinst`, `prerm`, `postrm`, `triggers` or `config`.",
	Example: `script "example-tool" "postinst" {
  sha256 = "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730"
  why    = "Links its default variant; the rest registers documentation."
  effects = [
    { op = "symlink", path = "/usr/bin/tool", target = "tool-2" },
  ]
}
`,
	Attrs: []hclconf.Attr{
		{Name: "sha256", Type: text, Required: true, Doc: "SHA-256 of the script, in hex. Another script needs another record."},
		{Name: "why", Type: text, Required: true, Doc: "Why these effects, and no others, are what the image needs."},
		{Name: "effects", Type: anything, Kind: "a list of objects", Doc: "What is done in its place, in order; `op` names it, and `path`, `target`, `content`, `mode`, `owner` (`uid:gid`) and `priority` are its operands. Default: nothing."},
	},
}

var templateSchema = &hclconf.Schema{
	Name: "template", Labels: []string{"name"},
	Doc: "An image. What is not said here it has from the template it extends: platforms, version, compression, archives, `resolve` and `prune`, accounts, and config but for ports and volumes. Its layers begin with its parent's.",
	Example: `template "static" {
  description = "Static programs: certificates, time zones, users. No libc, no shell."
  version     = "13.1.0"
  platforms   = ["linux/amd64", "linux/arm64"]

  packages {
    archives = [archive.debian]
    install  = ["base-files", "ca-certificates", "netbase", "tzdata"]
    resolve  = false
    prune    = ["docs", "man", "locales"]
  }

  user "nonroot" {
    uid  = 65532
    home = "/home/nonroot"
  }

  config {
    user = "nonroot"
    env  = { SSL_CERT_FILE = "/etc/ssl/certs/ca-certificates.crt" }
  }
}

template "tcl" {
  for_each = { "8.6" = "8.6.1", "9.0" = "9.0.1" }
  extends  = template.static
  version  = each.value

  packages {
    install = ["tcl${each.key}"]
    resolve = true
  }
}
`,
	Attrs: []hclconf.Attr{
		{Name: "for_each", Kind: "a map, or a list of strings", Doc: "Makes one image for each element, named `NAME-KEY`; `each.key` and `each.value` are the element. Another template refers to one as `template.NAME[\"KEY\"]`."},
		{Name: "description", Type: text, Doc: "What the image is for."},
		{Name: "version", Type: text, Doc: "Version, which becomes the tag. Required without `extends`."},
		{Name: "platforms", Type: texts, Doc: "`linux/amd64`, `linux/arm64` or both. Default: the parent's, else `[\"linux/amd64\"]`."},
		{Name: "compression", Type: text, Doc: "Of layers: `zstd` or `gzip`. The same in a whole lineage. Default: `zstd`."},
		{Name: "extends", Kind: "template.NAME", Doc: "The parent."},
	},
	Blocks: []*hclconf.Schema{packagesSchema, userSchema, groupSchema, fileSchema, directorySchema, symlinkSchema, configSchema},
}

var packagesSchema = &hclconf.Schema{
	Name: "packages", Once: true,
	Doc: "The packages that this template adds to its parent's.",
	Attrs: []hclconf.Attr{
		{Name: "archives", Kind: "a list of archive.NAME", Doc: "Archives to take packages from, in order of preference. Default: the parent's."},
		{Name: "install", Type: texts, Doc: "Packages, as `name` or `name=version`."},
		{Name: "resolve", Type: cty.Bool, Doc: "`true` adds dependencies as `apt-get install --no-install-recommends` would; `false` takes exactly these. Default: the parent's, else `true`."},
		{Name: "exclude", Type: mapping, Doc: "Dependencies to leave out, each with the reason, which is recorded."},
		{Name: "prune", Type: texts, Doc: "Named [sets of files](#sets-of-prune) that are not laid out. Copyright files always stay. Default: the parent's."},
	},
}

var userSchema = &hclconf.Schema{
	Name: "user", Labels: []string{"name"},
	Doc: "An account. Images begin with root (0) and nobody (65534). Its home is made, with mode 0700, unless a `directory` block says otherwise.",
	Attrs: []hclconf.Attr{
		{Name: "uid", Type: cty.Number, Required: true, Doc: "User id, 1 to 65533."},
		{Name: "group", Type: anything, Kind: "a group's name or id", Doc: "Primary group. Default: a group of the same name and id, which is added."},
		{Name: "home", Type: text, Doc: "Home directory. Default: `/nonexistent`."},
		{Name: "shell", Type: text, Doc: "Login shell. Default: `/usr/sbin/nologin`."},
		{Name: "gecos", Type: text, Doc: "Full name. Default: the name."},
	},
	Refused: map[string]string{
		"password": "Accounts of images are locked: there is no password to set.",
		"gid":      "Write `group = ...` with the name or id of the primary group.",
	},
}

var groupSchema = &hclconf.Schema{
	Name: "group", Labels: []string{"name"},
	Doc: "A group. Images begin with root (0), tty (5), staff (50) and nogroup (65534).",
	Attrs: []hclconf.Attr{
		{Name: "gid", Type: cty.Number, Required: true, Doc: "Group id, 1 to 65533."},
		{Name: "members", Type: texts, Doc: "Users that are in the group beside those whose primary group it is."},
	},
}

var ownerAttrs = []hclconf.Attr{
	{Name: "owner", Type: anything, Kind: "a user's name or id", Doc: "Owner. Default: root."},
	{Name: "group", Type: anything, Kind: "a group's name or id", Doc: "Group. Default: the owner's."},
}

var fileSchema = &hclconf.Schema{
	Name: "file", Labels: []string{"path"},
	Doc: "A regular file. Exactly one of `content`, `source` and `url` says what is in it.",
	Attrs: append([]hclconf.Attr{
		{Name: "content", Type: text, Doc: "The content itself."},
		{Name: "source", Type: text, Doc: "A file of the directory, by its relative path."},
		{Name: "url", Type: text, Doc: "An https or http address; needs `sha256`."},
		{Name: "sha256", Type: text, Doc: "SHA-256 of what `url` gives, in hex."},
		{Name: "mode", Type: anything, Kind: "an octal string", Doc: "Permissions. Default: `\"0644\"`."},
		{Name: "replace", Type: cty.Bool, Doc: "Allows it to take the place of a package's or the parent's file; recorded. Default: `false`."},
	}, ownerAttrs...),
}

var directorySchema = &hclconf.Schema{
	Name: "directory", Labels: []string{"path"},
	Doc: "A directory, or the attributes of one that a package brings.",
	Attrs: append([]hclconf.Attr{
		{Name: "mode", Type: anything, Kind: "an octal string", Doc: "Permissions. Default: `\"0755\"`."},
	}, ownerAttrs...),
}

var symlinkSchema = &hclconf.Schema{
	Name: "symlink", Labels: []string{"path"},
	Doc: "A symbolic link.",
	Attrs: []hclconf.Attr{
		{Name: "target", Type: text, Required: true, Doc: "What it points at."},
		{Name: "replace", Type: cty.Bool, Doc: "Allows it to take the place of a package's or the parent's file; recorded. Default: `false`."},
	},
}

var configSchema = &hclconf.Schema{
	Name: "config", Once: true,
	Doc: "How the image is started.",
	Attrs: []hclconf.Attr{
		{Name: "user", Type: text, Doc: "User, or `user:group`, by name or id; written into the image as numbers. It must have an account. A child cannot change it back to root."},
		{Name: "workdir", Type: text, Doc: "Working directory."},
		{Name: "env", Type: mapping, Doc: "Environment, added to the parent's. `PATH` has Debian's usual value by default."},
		{Name: "entrypoint", Type: texts, Doc: "Program and its first arguments. It drops the parent's `cmd`."},
		{Name: "cmd", Type: texts, Doc: "Further arguments, which the one who starts the image may replace."},
		{Name: "labels", Type: mapping, Doc: "Labels, added to the parent's."},
		{Name: "ports", Type: texts, Doc: "Ports listened on, such as `\"8080/tcp\"`, 1024 to 65535. Not inherited."},
		{Name: "volumes", Type: texts, Doc: "Paths meant for volumes. Not inherited."},
		{Name: "stop_signal", Type: text, Doc: "Signal that asks the program to end, such as `SIGTERM`."},
	},
}
