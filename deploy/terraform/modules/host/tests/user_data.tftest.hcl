# The token of a tunnel that doesn't exist.
variables {
  token = "eyJhIjoiMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJ0IjoiMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwIiwicyI6IkFBQUEifQ=="
}

run "an_image_that_has_the_package" {
  command = plan

  variables {
    lockdown = false
  }

  assert {
    condition     = startswith(output.user_data, "#cloud-config\n")
    error_message = "cloud-init reads user data by its first line"
  }
  assert {
    condition     = yamldecode(output.user_data).write_files[0] == { path = "/run/qanat-setup/token", owner = "root:root", permissions = "0600", content = "${var.token}\n" }
    error_message = "the token is in a file of root's alone"
  }
  assert {
    condition     = !strcontains(output.user_data, "curl") && !strcontains(output.user_data, "lockdown")
    error_message = "nothing is downloaded, nothing closed"
  }
}

run "a_host_from_nothing" {
  command = plan

  variables {
    edge            = "edge.example.net:7844"
    ca_pem          = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    package         = { url = "https://packages.example.net/qanat-linux-amd64.deb?a=1&b='2'", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
    flags           = ["--label", "it's a"]
    keep_interfaces = ["wg0"]
  }

  assert {
    condition     = yamldecode(output.user_data).write_files[1].content == var.ca_pem
    error_message = "the edge's CA is there"
  }
  assert {
    condition     = strcontains(output.user_data, "'--edge' 'edge.example.net:7844' '--label' 'it'\\''s a'\n")
    error_message = "each word arrives as it was written"
  }
  assert {
    condition     = strcontains(output.user_data, "'qanat' 'lockdown' '--apply' '--keep-interface' 'wg0'\n")
    error_message = "the web ports are closed"
  }
}

run "a_token_is_one" {
  command = plan

  variables {
    token = "none"
  }

  expect_failures = [var.token]
}

run "a_package_has_a_hash" {
  command = plan

  variables {
    package = { url = "https://packages.example.net/qanat.deb", sha256 = "abc" }
  }

  expect_failures = [var.package]
}
