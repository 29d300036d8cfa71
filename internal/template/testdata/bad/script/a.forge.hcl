script "Base Files" "postins" {
  sha256  = "abc"
  why     = " "
  effects = [
    { op = "move", path = "/etc/mtab" },
    { op = "symlink", path = "etc/mtab", target = "x" },
    { op = "symlink", path = "/etc/mtab" },
    { op = "none", pth = "/x" },
    { op = "dir", path = "/x", mode = 755 },
    "none",
  ]
}

script "x" {
}

script "tzdata" "postinst" {
  effects = "none"
}
