template "static" {
  version = "1"

  config {
    user        = "nonrot"
    workdir     = "srv"
    env         = { "1BAD" = "x", OK = "fine", "WITH SPACE" = "y" }
    entrypoint  = "/usr/bin/app"
    cmd         = [1, true, null]
    ports       = ["80", "8080/http", "70000", 443, "http"]
    volumes     = ["data", "/data/"]
    stop_signal = "TERM"
    labels      = { "" = "x" }
    comand      = ["x"]
  }

  user "nonroot" {
    uid = 65532
  }
}

template "numbers" {
  version = "1"
  config {
    user = 1234
  }
}

template "group" {
  version = "1"
  config {
    user = "nobody:nobody"
  }
}
