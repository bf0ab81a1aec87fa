# Without a control plane: the provider is a mock. tests/interop/test_terraform_roots.py applies it all against a running one.
mock_provider "cloudflare" {
  mock_resource "cloudflare_zero_trust_tunnel_cloudflared" {
    defaults = { id = "11111111-1111-4111-8111-111111111111" }
  }
  mock_data "cloudflare_zero_trust_tunnel_cloudflared_token" {
    defaults = { token = "the-token" }
  }
}

variables {
  account_id = "00000000000000000000000000000001"
  zone_id    = "00000000000000000000000000000002"
  name       = "web"
  ingress = [
    { hostname = "app.example.com", path = "^/api", service = "http://localhost:8001" },
    { hostname = "app.example.com", service = "http://localhost:8000", origin_request = { http_host_header = "app.internal" } },
    { hostname = "www.example.com", service = "http://localhost:8000" },
  ]
  activate_dns = true
}

run "hostnames_lead_to_the_tunnel" {
  command = apply

  assert {
    condition     = toset(keys(cloudflare_dns_record.public)) == toset(["app.example.com", "www.example.com"])
    error_message = "one record a hostname, however many rules it has"
  }
  assert {
    condition = alltrue([
      for record in cloudflare_dns_record.public :
      record.content == "11111111-1111-4111-8111-111111111111.cfargotunnel.com" && record.proxied && record.type == "CNAME"
    ])
    error_message = "a proxied CNAME to the tunnel"
  }
  assert {
    condition     = output.tunnel_token == "the-token"
    error_message = "the token comes out"
  }
}

run "rules_in_order_and_one_for_the_rest" {
  command = apply

  assert {
    condition = [for rule in cloudflare_zero_trust_tunnel_cloudflared_config.this.config.ingress : rule.service] == [
      "http://localhost:8001", "http://localhost:8000", "http://localhost:8000", "http_status:404",
    ]
    error_message = "the rules as given, then the catch-all"
  }
  assert {
    condition     = cloudflare_zero_trust_tunnel_cloudflared_config.this.config.ingress[1].origin_request.http_host_header == "app.internal"
    error_message = "origin_request arrives"
  }
}

run "without_activate_dns_there_is_no_record" {
  command = apply

  variables {
    activate_dns = false
  }

  assert {
    condition     = length(cloudflare_dns_record.public) == 0
    error_message = "the tunnel is there, and nothing leads to it"
  }
  assert {
    condition     = output.tunnel_token == "the-token"
    error_message = "its connector can run"
  }
}

run "records_of_another_site_stay_with_it" {
  command = plan

  variables {
    activate_dns    = false
    takes_over_from = "22222222-2222-4222-8222-222222222222"
  }

  assert {
    condition     = length(cloudflare_dns_record.public) == 0
    error_message = "none of its own"
  }
  assert {
    condition     = alltrue([for record in cloudflare_dns_record.moving : record.content == "22222222-2222-4222-8222-222222222222.cfargotunnel.com"])
    error_message = "they lead where they led"
  }
}

run "they_move_with_activate_dns" {
  command = plan

  variables {
    activate_dns    = true
    takes_over_from = "22222222-2222-4222-8222-222222222222"
  }

  assert {
    condition     = length(cloudflare_dns_record.public) == 0 && toset(keys(cloudflare_dns_record.moving)) == toset(["app.example.com", "www.example.com"])
    error_message = "the same records, somewhere else"
  }
}

run "an_account_has_an_id" {
  command = plan

  variables {
    account_id = "mine"
  }

  expect_failures = [var.account_id]
}

run "a_tunnel_has_rules" {
  command = plan

  variables {
    ingress = []
  }

  expect_failures = [var.ingress]
}

run "a_tunnel_is_named_by_its_id" {
  command = plan

  variables {
    takes_over_from = "production"
  }

  expect_failures = [var.takes_over_from]
}
