output "tunnel_id" {
  value = module.tunnel.tunnel_id
}

output "tunnel_token" {
  value     = module.tunnel.tunnel_token
  sensitive = true
}

output "user_data" {
  value       = { for name, host in module.host : name => host.user_data }
  description = "User data of new hosts (cloud-init), by host: tofu output -json user_data | jq -r .default"
  sensitive   = true
}
