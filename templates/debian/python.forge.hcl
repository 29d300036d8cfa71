template "python" {
  description = "For Python services: cc plus the Python 3.13 interpreter and its standard library. No pip, no shell."
  extends     = template.cc

  packages {
    archives = [archive.debian, archive.debian-security]
    install  = ["libpython3.13-stdlib", "python3.13-minimal"]
    resolve  = true
    exclude = {
      openssl-provider-legacy = "Retired algorithms (RC4, MD4, DES) are not offered."
    }
    prune = ["docs", "info", "lintian", "locales", "man"]
  }

  symlink "/usr/bin/python3" {
    target = "python3.13"
  }

  config {
    entrypoint = ["/usr/bin/python3"]
    env = {
      LANG                    = "C.UTF-8"
      PYTHONDONTWRITEBYTECODE = "1"
    }
  }
}
