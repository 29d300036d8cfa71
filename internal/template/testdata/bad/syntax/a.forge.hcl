template "static" {
  version = "1
}
