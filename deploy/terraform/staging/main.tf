# Staging: one host, its own hostnames.

data "cloudflare_zone" "this" {
  filter = { name = var.zone }
}

module "tunnel" {
  source       = "../modules/tunnel"
  account_id   = var.account_id
  zone_id      = data.cloudflare_zone.this.zone_id
  name         = "staging"
  ingress      = var.ingress
  activate_dns = var.activate_dns
}

module "host" {
  source  = "../modules/host"
  token   = module.tunnel.tunnel_token
  edge    = var.edge
  ca_pem  = var.ca_file == null ? null : file(var.ca_file)
  package = var.package
}
