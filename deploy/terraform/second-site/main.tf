# A second site for hostnames that production serves: all of it there and connected, and no traffic until activate_dns is true. Their records
# are production's; this root imports them and decides where they lead.

data "cloudflare_zone" "this" {
  filter = { name = var.zone }
}

locals {
  hostnames = toset([for rule in var.ingress : rule.hostname])
}

data "cloudflare_dns_records" "public" {
  for_each = local.hostnames
  zone_id  = data.cloudflare_zone.this.zone_id
  type     = "CNAME"
  name     = { exact = each.key }

  lifecycle {
    postcondition {
      condition     = length(self.result) == 1
      error_message = "${each.key} has no CNAME to take over: apply production first, or leave the rule out."
    }
  }
}

import {
  for_each = data.cloudflare_dns_records.public
  to       = module.tunnel.cloudflare_dns_record.moving[each.key]
  id       = "${data.cloudflare_zone.this.zone_id}/${each.value.result[0].id}"
}

module "tunnel" {
  source          = "../modules/tunnel"
  account_id      = var.account_id
  zone_id         = data.cloudflare_zone.this.zone_id
  name            = "second-site"
  ingress         = var.ingress
  activate_dns    = var.activate_dns
  takes_over_from = var.takes_over_from
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
