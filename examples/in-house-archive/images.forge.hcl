# A service from an archive of your own, on packages of Debian's.
#
# To use this: put your archive's address, suite and public key here, then
#   forge lock examples/in-house-archive

archive "example" {
  # The one address that stands in a template. FORGE_DEB_MIRROR and the user's
  # configuration go before it, for machines that reach the archive elsewhere.
  url    = "https://packages.example/debian"
  suites = ["stable"]

  # gpg --armor --export archive@example.com > example-archive.asc
  keyring = "example-archive.asc"

  # Of the keyring's keys, only this one may sign.
  signed_by = ["F147C0E444957DED2F07ED26E90AE7E58DA8EA3B"]

  # The release file has no Valid-Until: refuse one that nobody renewed for a week,
  # so that a frozen mirror is noticed.
  max_age = "7d"
}

archive "debian" {
  suites  = ["trixie", "trixie-updates"]
  keyring = "debian-archive.asc"
}

archive "debian-security" {
  suites  = ["trixie-security"]
  keyring = "debian-archive.asc"
}

template "hello" {
  description = "The hello service, on Debian's C library."
  version     = "1.0.0"
  platforms   = ["linux/amd64", "linux/arm64"]

  packages {
    # Where two archives have a package, versions decide, as in apt.
    archives = [archive.example, archive.debian, archive.debian-security]
    install  = ["base-files", "ca-certificates", "hello-service"]
    exclude = {
      openssl = "Makes the certificates' directory when installed; forge does that itself."
    }
    prune = ["docs", "locales", "man"]
  }

  user "nonroot" {
    uid = 65532
  }

  config {
    user       = "nonroot"
    entrypoint = ["/usr/bin/hello-service"]
    ports      = ["8080/tcp"]
  }
}

# What hello-service's postinst would have done. forge prints the block to start from
# when a script has no record; docs/script-effects.md says how to review one.
script "hello-service" "postinst" {
  sha256  = "87aec9a11823e8a5d7fe8742339c81cb7d0070be7ea33fd98e0f6ca99c4a0c2b"
  effects = [{ op = "directory", path = "/var/lib/hello", mode = "0755", owner = "0:0" }]
  why     = "Makes its state directory; the rest tells systemd, which an image has not."
}
