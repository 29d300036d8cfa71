archive "debian" {
  kind       = "dep"
  suites     = ["trixie", "trixie", "../evil"]
  components = []
  keyring    = "nowhere.asc"
  signed_by  = ["not a key"]
  url        = "ftp://mirror.example/debian"
  max_age    = "a week"
  as_of      = "1.11.2026"
  snapshot   = "20261131T000000Z"
}

archive "inhouse" {
  suites   = []
  keyring  = "../keys.asc"
  url      = "https://me:secret@mirror.example/debian"
  keyrings = "keys.asc"
}

archive "debian" {
  suites  = ["trixie"]
  keyring = "keys.asc"
}

archive "nokeys" {
  suites = ["trixie"]
}

archive "private" {
  suites  = ["trixie"]
  keyring = "private.asc"
}
