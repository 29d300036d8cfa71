variable "x" {
  default = ["a"]
}

template "static" {
  version     = var.x
  platforms   = { a = "linux/amd64" }
  description = 1 / 0
  packages    = { install = ["a"] }

  config {
    env = { for k in [1, 2, 3] : k => k.nothing }
    cmd = [for k in "text" : k]
  }

  file {
    content = "x"
  }
  file "/x" {
    content = var.x[3]
  }
}
