variable "suite" {
  type    = string
  default = "trixie"
}

archive "debian" {
  kind       = "deb"
  suites     = [var.suite, "${var.suite}-updates"]
  components = ["main"]
  keyring    = "debian-archive.asc"
}

archive "debian-security" {
  kind       = "deb"
  suites     = ["${var.suite}-security"]
  components = ["main"]
  keyring    = "debian-archive.asc"
  max_age    = "7d"
}

template "static" {
  description = "Static binaries: CA certificates, time zones, users. No libc, no shell."
  version     = "13.1.0"
  platforms   = ["linux/amd64", "linux/arm64"]

  packages {
    archives = [archive.debian, archive.debian-security]
    install  = ["tzdata", "base-files", "ca-certificates", "netbase"]
    resolve  = false
    prune    = ["man", "docs", "locales"]
  }

  user "nonroot" {
    uid  = 65532
    home = "/home/nonroot"
  }

  directory "/tmp" { mode = "1777" }
  file "/etc/motd" { content = "Welcome.\n" }
  symlink "/etc/localtime" { target = "../usr/share/zoneinfo/Etc/UTC" }

  config {
    user    = "nonroot"
    workdir = "/home/nonroot"
    env     = { SSL_CERT_FILE = "/etc/ssl/certs/ca-certificates.crt" }
    ports   = ["8080"]
  }
}

template "base" {
  extends = template.static
  packages { install = ["libc6", "libssl3t64=3.5.1-1", "zlib1g"] }
  file "/etc/motd" {
    source  = "motd.txt"
    owner   = "nonroot"
    replace = true
  }
}
