template "python" {
  for_each = { "3.12" = "a", "Three" = "b" }
  version  = each.valu
}

template "wrong" {
  for_each = 3
  version  = "1"
  instal   = "x"
}

template "child" {
  extends = template.python
}

template "other" {
  extends = template.python["3.11"]
}

template "single" {
  version = "1"
}

template "ofsingle" {
  extends = template.single["x"]
}

template "python-3.12" {
  version = each.key
}
