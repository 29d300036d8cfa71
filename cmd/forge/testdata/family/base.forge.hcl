template "base" {
  description = "The root of the test family."
  version     = "1.0.0"
  platforms   = ["linux/amd64", "linux/arm64"]

  packages {
    archives = [archive.test]
    install  = ["base-files"]
    resolve  = true
  }

  user "nonroot" {
    uid  = 65532
    home = "/home/nonroot"
  }

  config {
    user = "nonroot"
  }
}
