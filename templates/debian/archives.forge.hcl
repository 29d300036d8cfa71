# Debian's own archives, as every template of this directory uses them.

variable "suite" {
  type        = string
  default     = "trixie"
  description = "The Debian release that the images are made from."
}

archive "debian" {
  kind       = "deb"
  suites     = [var.suite, "${var.suite}-updates"]
  components = ["main"]
  keyring    = "debian-archive.asc"
}

# Security has a root of its own on every mirror.
archive "debian-security" {
  kind       = "deb"
  suites     = ["${var.suite}-security"]
  components = ["main"]
  keyring    = "debian-archive.asc"
}
