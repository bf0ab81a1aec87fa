locals {
  # each word of a command as sh reads it, whatever is in it
  install = concat(
    ["qanat", "service", "install", "--token-file", "/run/qanat-setup/token"],
    var.ca_pem == null ? [] : ["--cacert", "/run/qanat-setup/ca.pem"],
    var.edge == null ? [] : ["--edge", var.edge],
    var.flags,
  )
  lockdown = concat(["qanat", "lockdown", "--apply"], flatten([for name in var.keep_interfaces : ["--keep-interface", name]]))
  quoted   = { for name, words in { install = local.install, lockdown = local.lockdown } : name => join(" ", [for word in words : "'${replace(word, "'", "'\\''")}'"]) }
}

output "user_data" {
  description = "What the host's provider wants as its user data. It has the token in it."
  sensitive   = true
  value = templatefile("${path.module}/../../cloud-init.yaml.tftpl", {
    token    = var.token
    ca_pem   = var.ca_pem
    package  = var.package
    url      = var.package == null ? null : "'${replace(var.package.url, "'", "'\\''")}'"
    lockdown = var.lockdown ? local.quoted.lockdown : null
    install  = local.quoted.install
  })
}
