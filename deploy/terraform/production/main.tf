# Production: one host or several (active and standby), and the records of the public hostnames.

data "cloudflare_zone" "this" {
  filter = { name = var.zone }
}

module "tunnel" {
  source       = "../modules/tunnel"
  account_id   = var.account_id
  zone_id      = data.cloudflare_zone.this.zone_id
  name         = "production"
  ingress      = var.ingress
  activate_dns = var.activate_dns
}

# one for each host with a token of its own, and "default" with the tunnel's
module "host" {
  source   = "../modules/host"
  for_each = toset(concat(["default"], nonsensitive(keys(var.connector_tokens))))
  token    = each.key == "default" ? module.tunnel.tunnel_token : var.connector_tokens[each.key]
  edge     = var.edge
  ca_pem   = var.ca_file == null ? null : file(var.ca_file)
  package  = var.package
}
