"""Terraform with its Cloudflare provider v4, which insists on HTTPS: TLS stands in front of the API, as in the field.

`QANAT_TEST_TERRAFORM`: see tests/support/terraform.py for what it names.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_terraform import SECRETS, api_token
from tests.support.connector import Connector
from tests.support.control import Control
from tests.support.edge import Edge
from tests.support.terraform import Workspace, needs_terraform, workspace
from tests.support.tls_front import tls_front
from tests.support.waiting import wait_until

pytestmark = [needs_terraform, pytest.mark.timeout(300)]

RELEASE = "4.52"
NAMES = {"old": ("cloudflare_tunnel", "cloudflare_tunnel_config"), "new": ("", "")}
NAMES["new"] = ("cloudflare_zero_trust_tunnel_cloudflared", "cloudflare_zero_trust_tunnel_cloudflared_config")


@pytest.fixture
def zone(control: Control, request: pytest.FixtureRequest) -> Iterator[Any]:
    zone = control.create_zone(f"{request.node.originalname.replace('_', '-')}.test")
    yield zone
    control.call("DELETE", f"/zones/{zone['id']}")


@pytest.fixture
def place(control: Control, zone: Any, tmp_path: Path) -> Iterator[Workspace]:
    # after the zone, so that it is destroyed before it
    assert zone
    with tls_front(tmp_path, control.url.split("/")[2]) as (address, ca_file):
        with workspace(tmp_path / "tf", RELEASE, environment(address, ca_file, control.token)) as made:
            yield made


def environment(address: str, ca_file: Path, token: str) -> dict[str, str]:
    return {"CLOUDFLARE_API_HOSTNAME": address, "CLOUDFLARE_API_TOKEN": token, "SSL_CERT_FILE": str(ca_file)}


def published(account: str, zone: str, names: str, *, name: str = "web", port: int = 8080, origin: str = "") -> str:
    tunnel, config = NAMES[names]
    return f"""
data "cloudflare_zone" "z" {{
  name = "{zone}"
}}
resource "{tunnel}" "t" {{
  account_id = "{account}"
  name       = "{name}"
  secret     = "{SECRETS[0]}"
  config_src = "cloudflare"
}}
resource "{config}" "c" {{
  account_id = "{account}"
  tunnel_id  = {tunnel}.t.id
  config {{
    ingress_rule {{
      hostname = "app.{zone}"
      service  = "http://127.0.0.1:{port}"
      {origin}
    }}
    ingress_rule {{
      service = "http_status:404"
    }}
  }}
}}
resource "cloudflare_record" "r" {{
  zone_id = data.cloudflare_zone.z.id
  name    = "app"
  type    = "CNAME"
  content = {tunnel}.t.cname
  proxied = true
  comment = "by terraform"
}}
output "token" {{
  sensitive = true
  value     = {tunnel}.t.tunnel_token
}}
output "account" {{
  value = data.cloudflare_zone.z.account_id
}}
"""


@pytest.mark.parametrize("names", list(NAMES))
def test_apply_change_destroy(place: Workspace, control: Control, zone: Any, names: str) -> None:
    """Trap 1 and 5: the provider crashes without `warp-routing`, and replaces when `remote_config` moves."""
    place.apply(published(control.account, zone["name"], names))
    place.assert_in_place()
    tunnel = place.values(f"{NAMES[names][0]}.t")["id"]
    assert place.outputs() == {
        "token": control.call("GET", f"{control.tunnels()}/{tunnel}/token"),
        "account": control.account,
    }
    place.write(
        published(control.account, zone["name"], names, port=9090, origin="origin_request {\n no_tls_verify = true\n }")
    )
    assert place.planned() == {f"{NAMES[names][1]}.c": ["update"]}
    place.apply()
    place.assert_in_place()
    assert place.values(f"{NAMES[names][0]}.t")["id"] == tunnel


def test_import(place: Workspace, control: Control, zone: Any) -> None:
    tunnel_type, config_type = NAMES["new"]
    hcl = published(control.account, zone["name"], "new")
    place.apply(hcl)
    tunnel = place.values(f"{tunnel_type}.t")["id"]
    record = place.values("cloudflare_record.r")["id"]
    place.forget()
    place.succeeds("import", "-no-color", f"{tunnel_type}.t", f"{control.account}/{tunnel}")
    place.succeeds("import", "-no-color", f"{config_type}.c", f"{control.account}/{tunnel}")
    place.succeeds("import", "-no-color", "cloudflare_record.r", f"{zone['id']}/{record}")
    # the provider reads neither the secret nor config_src at an import: whoever imports ignores both
    place.write(
        hcl.replace(
            'config_src = "cloudflare"',
            'config_src = "cloudflare"\n lifecycle {\n ignore_changes = [secret, config_src]\n }',
        )
    )
    # its own default of allow_overwrite, which it doesn't fill in either
    assert place.planned() == {"cloudflare_record.r": ["update"]}
    place.apply()
    place.assert_in_place()


RECORDS = """
resource "cloudflare_record" "a" {
  zone_id = "ID"
  name    = "a"
  type    = "A"
  content = "192.0.2.1"
  ttl     = 300
  tags    = ["owner:dns"]
}
resource "cloudflare_record" "mx" {
  zone_id  = "ID"
  name     = "@"
  type     = "MX"
  content  = "mail.example.net"
  priority = 10
}
resource "cloudflare_record" "txt" {
  zone_id = "ID"
  name    = "txt"
  type    = "TXT"
  content = "hello"
}
resource "cloudflare_record" "srv" {
  zone_id = "ID"
  name    = "_sip._tcp"
  type    = "SRV"
  data {
    priority = 10
    weight   = 5
    port     = 5060
    target   = "sip.example.net"
  }
}
resource "cloudflare_record" "caa" {
  zone_id = "ID"
  name    = "@"
  type    = "CAA"
  data {
    flags = "0"
    tag   = "issue"
    value = "ca.example"
  }
}
resource "cloudflare_record" "https" {
  zone_id = "ID"
  name    = "web"
  type    = "HTTPS"
  data {
    priority = 1
    target   = "."
    value    = "alpn=\\"h2,h3\\""
  }
}
"""


def test_records_do_not_drift(place: Workspace, zone: Any) -> None:
    hcl = RECORDS.replace("ID", zone["id"])
    place.apply(hcl)
    place.assert_in_place()
    place.apply(hcl.replace("192.0.2.1", "192.0.2.9").replace("priority = 10", "priority = 20"))
    place.assert_in_place()


@pytest.mark.trap(15)
def test_allow_overwrite_replaces(place: Workspace, control: Control, zone: Any) -> None:
    """The provider knows by the text of the refusal that there is something to overwrite."""
    there = control.create_record(zone["id"], type="A", name="a", content="192.0.2.1", ttl=300)
    hcl = f"""
resource "cloudflare_record" "r" {{
  zone_id = "{zone["id"]}"
  name    = "a"
  type    = "A"
  content = "192.0.2.1"
  ttl     = 600
  allow_overwrite = true
}}
"""
    place.apply(hcl)
    place.assert_in_place()
    (record,) = control.call("GET", f"/zones/{zone['id']}/dns_records")
    assert (record["id"], record["ttl"]) == (there["id"], 600)


@pytest.mark.case(64)
def test_lists_are_complete(place: Workspace, control: Control, zone: Any) -> None:
    """More than two of its pages of zones; of accounts it asks for one page only, and it has no list of records."""
    zones = [control.create_zone(f"l{number}.{zone['name']}") for number in range(110)]
    place.apply(f"""
data "cloudflare_accounts" "all" {{}}
data "cloudflare_zones" "all" {{
  filter {{ account_id = "{control.account}" }}
}}
output "accounts" {{ value = data.cloudflare_accounts.all.accounts[*].id }}
output "zones"    {{ value = data.cloudflare_zones.all.zones[*].id }}
""")
    found = place.outputs()
    assert control.account in found["accounts"]
    assert {each["id"] for each in zones} <= set(found["zones"])


def test_destroy_with_a_live_connector(live: Edge, tmp_path: Path) -> None:
    zone = live.api.create_zone("live-v4.test")
    with tls_front(tmp_path, live.ready["api"].split("/")[2]) as (address, ca_file):
        place = Workspace(tmp_path / "tf", RELEASE, environment(address, ca_file, api_token(live)))
        place.apply(published(live.api.account, "live-v4.test", "new", name="live v4"))
        tunnel = place.values(f"{NAMES['new'][0]}.t")["id"]
        connector = Connector(tmp_path / "connector", live, place.outputs()["token"])
        try:
            wait_until(lambda: live.api.connectors(tunnel), "the connector in the API")
            outcome = place.destroy()
            assert outcome.code == 0, outcome.text
        finally:
            connector.process.kill()
    live.api.call("DELETE", f"/zones/{zone}")
