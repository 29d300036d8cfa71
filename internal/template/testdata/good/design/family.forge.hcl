locals {
  pythons = { "3.12" = "python3.12-minimal", "3.13" = "python3.13-minimal" }
}

template "python" {
  for_each    = local.pythons
  extends     = template.base
  description = "Python ${each.key}"

  packages {
    install = [each.value]
    resolve = true
    exclude = { dpkg = "only its maintainer script wants it" }
  }

  config {
    entrypoint = ["/usr/bin/python${each.key}"]
    cmd        = ["-V"]
  }
}

template "python-tools" {
  for_each = local.pythons
  extends  = template.python[each.key]
  config {
    entrypoint = ["/usr/bin/python${each.key}", "-I"]
  }
}

script "base-files" "postinst" {
  sha256  = sha256("echo")
  why     = "Makes directories that the image does not need."
  effects = [{ op = "symlink", path = "/etc/mtab", target = "../proc/mounts" }]
}
