template "static" {
  description = "For static binaries: CA certificates, time zones, accounts. No libc, no shell."
  version     = "13.7.0"
  platforms   = ["linux/amd64", "linux/arm64"]

  packages {
    archives = [archive.debian, archive.debian-security]
    install  = ["base-files", "ca-certificates", "media-types", "netbase", "tzdata", "tzdata-legacy"]
    resolve  = false # exactly these: their dependencies are tools for a running system
    prune    = ["docs", "info", "lintian", "locales", "man"]
  }

  user "nonroot" {
    uid  = 65532
    home = "/home/nonroot"
  }

  directory "/tmp" {
    mode = "1777"
  }

  config {
    user    = "nonroot"
    workdir = "/home/nonroot"
    env = {
      PATH          = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
      SSL_CERT_FILE = "/etc/ssl/certs/ca-certificates.crt"
    }
  }
}
