template "base" {
  version = "1"
  packages {
    install = ["a" "b"]
  }
