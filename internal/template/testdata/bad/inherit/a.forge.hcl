template "static" {
  version     = "1"
  compression = "gzip"

  user "nonroot" {
    uid = 65532
  }
  file "/etc/motd" {
    content = "parent"
  }
  symlink "/etc/link" {
    target = "motd"
  }
  directory "/srv" {
    mode = "0755"
  }
  config {
    user = "nonroot"
  }
}

template "child" {
  extends     = template.static
  platforms   = ["linux/arm64"]
  compression = "zstd"

  user "nonroot" {
    uid = 1000
  }
  user "other" {
    uid = 65532
  }
  file "/etc/motd" {
    content = "child"
  }
  file "/etc/motd/x" {
    content = "child"
  }
  file "/srv" {
    content = "child"
  }
  config {
    user = "root"
  }
}

template "grandchild" {
  extends = template.child
  symlink "/etc/motd" {
    target  = "/srv/motd"
    replace = true
  }
  config {
    user = "0:0"
  }
}

template "a" {
  extends = template.b
}

template "b" {
  extends = template.c
}

template "c" {
  extends = template.a
}

template "d" {
  extends = template.a
}
