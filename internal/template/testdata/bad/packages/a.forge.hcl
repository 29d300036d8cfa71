archive "debian" {
  suites  = ["trixie"]
  keyring = "keys.asc"
}

template "static" {
  version = "1"

  packages {
    instal  = ["base-files"]
    install = ["Base-Files", "libc6:amd64", "tzdata=", "zlib1g=one", "netbase", "netbase", "x"]
    resolve = "perhaps"
    exclude = { dpkg = "", "Bad Name" = "why not" }
    prune   = ["doc", "man", "everything"]
  }

  packages {
    resolve = false
  }
}

template "list" {
  version = "1"
  packages {
    archives = [archive.debian, archive.debian]
    install  = "base-files"
    exclude  = ["dpkg"]
    prune    = [null]
  }
}
