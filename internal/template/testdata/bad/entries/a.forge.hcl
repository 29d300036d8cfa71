template "static" {
  version = "1"

  file "etc/motd" {
    content = "x"
  }
  file "/etc//motd" {
    content = "x"
  }
  file "/etc/../../motd" {
    content = "x"
  }
  file "/bin/app" {
    content = "x"
  }
  file "/etc/passwd" {
    content = "x"
  }
  file "/etc/issue" {
    content = "x"
    source  = "issue.txt"
  }
  file "/etc/issue.net" {
  }
  file "/etc/a" {
    source = "../outside"
    mode   = "0999"
  }
  file "/etc/b" {
    source = "isue.txt"
    mode   = 0644
    owner  = "nonroot"
  }
  file "/etc/c" {
    url = "https://mirror.example/c"
  }
  file "/etc/d" {
    url    = "https://mirror.example/d"
    sha256 = "SHA256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
    group  = "weel"
  }
  file "/etc/e" {
    content = "x"
    sha256  = "12"
    owner   = -1
  }
  directory "/etc/e" {
    mode = "rwx"
  }
  file "/etc/e/f" {
    content = "x"
  }
  symlink "/etc/link" {
    target = "../../outside"
  }
  symlink "/etc/none" {
  }
  directory "/" {
  }
  file "/etc/bell\u0007" {
    content = "x"
  }
}
