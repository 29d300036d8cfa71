archive "debian" {
  suites  = [var.suit, upper(locl.x)]
  keyring = file("keys.asc")
}

variable "suite" {
  default = "trixie"
}

template "static" {
  version = fomat("%d", 1)
  packages {
    archives = [archive.debain, "debian", debian, template.static, archive.debian]
    install  = [local.nothing, base-files]
  }
}

template "base" {
  extends = template.statik
  packages {
    archives = archive.debian
  }
}

template "cc" {
  extends     = "base"
  description = "made on ${timestamp()} by ${env("USER")}: ${each.key}"
}
