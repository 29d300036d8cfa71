archive "test" {
  kind       = "deb"
  suites     = ["stable"]
  components = ["main"]
  keyring    = "archive.asc"
}
