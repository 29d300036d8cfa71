template "static" {
  version = "1"

  user "nonroot" {
    uid  = 65532
    home = "home/nonroot"
  }
  user "nonroot" {
    uid = 1000
  }
  user "second" {
    uid   = 65532
    shell = "/bin/sh:x"
  }
  user "root" {
    uid = 0
  }
  user "Web App" {
    uid = 1001
  }
  user "big" {
    uid = 100000
  }
  user "half" {
    uid = 1000.5
  }
  user "none" {
    home     = "/home/../none"
    password = "secret"
  }
  user "stray" {
    uid   = 1002
    group = "wheel"
  }
  user "stray2" {
    uid   = 1003
    group = 4711
  }
  user "fifty" {
    uid = 50
  }
  group "staff" {
    gid = 51
  }
  group "extra" {
    gid     = 5
    members = ["nobody"]
  }
  group "team" {
    gid     = 2000
    members = ["nonrot"]
  }
}
