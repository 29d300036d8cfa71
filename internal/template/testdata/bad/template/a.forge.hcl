templat "x" {}

template "one" "two" {
  version = "1"
}

template "Static" {
  version     = "1.0+b"
  platforms   = ["linux/amd46", "windows/amd64", "linux/arm64", "linux/arm64"]
  compression = "xz"
  imports     = "x"

  package {
    instal = ["base-files"]
  }
}

template "nothing" {
  platforms = []
}

template "nothing" {
  version = "2"
}

name = "static"
