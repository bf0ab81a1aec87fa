terraform {
  # for_each in import blocks, which second-site has; OpenTofu from 1.7 on as well
  required_version = ">= 1.7"

  required_providers {
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = ">= 5.10, < 6"
    }
  }
}
