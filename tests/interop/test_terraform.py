"""Terraform with its Cloudflare provider v5: apply, an empty second plan, import, change, destroy.

`QANAT_TEST_TERRAFORM`: see tests/support/terraform.py for what it names.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.connector import Connector
from tests.support.control import Control
from tests.support.edge import Edge
from tests.support.terraform import Workspace, needs_terraform, workspace
from tests.support.waiting import wait_until

pytestmark = [needs_terraform, pytest.mark.timeout(300)]

RELEASES = ["5.22", "5.8"]
TUNNEL = "cloudflare_zero_trust_tunnel_cloudflared.t"
CONFIG = "cloudflare_zero_trust_tunnel_cloudflared_config.c"
RECORD = "cloudflare_dns_record.r"
SECRETS = ["AQIDBAUGBwgBAgMEBQYHCAECAwQFBgcIAQIDBAUGBwg=", "CQIDBAUGBwgBAgMEBQYHCAECAwQFBgcIAQIDBAUGBwg="]


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def zone(control: Control, request: pytest.FixtureRequest) -> Iterator[Any]:
    zone = control.create_zone(f"{request.node.originalname.replace('_', '-')}.test")
    yield zone
    control.call("DELETE", f"/zones/{zone['id']}")


@pytest.fixture
def place(control: Control, zone: Any, release: str, tmp_path: Path) -> Iterator[Workspace]:
    # after the zone, so that it is destroyed before it
    assert zone
    with workspace(tmp_path, release, environment(control.url, control.token)) as made:
        yield made


def environment(url: str, token: str) -> dict[str, str]:
    return {"CLOUDFLARE_BASE_URL": url, "CLOUDFLARE_API_TOKEN": token}


def published(
    account: str,
    zone: str,
    *,
    name: str = "web",
    secret: str | None = None,
    ingress: str = '{ hostname = "app.ZONE", service = "http://127.0.0.1:8080", origin_request = { no_tls_verify = true } }',
    comment: str | None = "by terraform",
) -> str:
    """A tunnel with its configuration, its CNAME and its token, as the provider's own guide has it."""
    return f"""
data "cloudflare_zone" "z" {{
  filter = {{ name = "{zone}" }}
}}
resource "cloudflare_zero_trust_tunnel_cloudflared" "t" {{
  account_id = "{account}"
  name       = "{name}"
  config_src = "cloudflare"
  {f'tunnel_secret = "{secret}"' if secret else ""}
}}
resource "cloudflare_zero_trust_tunnel_cloudflared_config" "c" {{
  account_id = "{account}"
  tunnel_id  = cloudflare_zero_trust_tunnel_cloudflared.t.id
  config = {{
    ingress = [
      {ingress.replace("ZONE", zone)},
      {{ service = "http_status:404" }},
    ]
  }}
}}
resource "cloudflare_dns_record" "r" {{
  zone_id = data.cloudflare_zone.z.zone_id
  name    = "app.{zone}"
  type    = "CNAME"
  content = "${{cloudflare_zero_trust_tunnel_cloudflared.t.id}}.cfargotunnel.com"
  proxied = true
  ttl     = 1
  {f'comment = "{comment}"' if comment else ""}
}}
data "cloudflare_zero_trust_tunnel_cloudflared_token" "token" {{
  account_id = "{account}"
  tunnel_id  = cloudflare_zero_trust_tunnel_cloudflared.t.id
}}
output "token" {{
  sensitive = true
  value     = data.cloudflare_zero_trust_tunnel_cloudflared_token.token.token
}}
"""


def test_apply_then_nothing_to_do(place: Workspace, control: Control, zone: Any) -> None:
    place.apply(published(control.account, zone["name"]))
    place.assert_in_place()
    tunnel = place.values(TUNNEL)
    assert place.outputs()["token"] == control.call("GET", f"{control.tunnels()}/{tunnel['id']}/token")
    assert control.call("GET", f"{control.tunnels()}/{tunnel['id']}/configurations")["config"] == {
        "ingress": [
            {
                "hostname": f"app.{zone['name']}",
                "service": "http://127.0.0.1:8080",
                "originRequest": {"noTLSVerify": True},
            },
            {"service": "http_status:404"},
        ],
        "warp-routing": {"enabled": False},
    }


def test_changes_are_made_in_place(place: Workspace, control: Control, zone: Any) -> None:
    """Trap 3, 6 and 9 of api.md: nothing is replaced, and nothing is left to do after."""
    place.apply(published(control.account, zone["name"], secret=SECRETS[0]))
    place.assert_in_place()
    before = place.values(TUNNEL)["id"]
    token = place.outputs()["token"]
    for changed in (
        {"name": "renamed"},
        {"name": "renamed", "secret": SECRETS[1]},
        {"ingress": '{ hostname = "app.ZONE", path = "^/a", service = "http://127.0.0.1:9090" }'},
        {"comment": None},
    ):
        place.write(published(control.account, zone["name"], **{"secret": SECRETS[0], **changed}))  # type: ignore[arg-type]
        planned = place.planned()
        assert planned
        assert set(map(tuple, planned.values())) == {("update",)}
        place.apply()
        place.assert_in_place()
        assert place.values(TUNNEL)["id"] == before
        if changed.get("secret"):
            assert place.outputs()["token"] != token
    assert place.values(RECORD)["comment"] is None


RECORDS = """
resource "cloudflare_dns_record" "a" {
  zone_id = "ID"
  name    = "a.ZONE"
  type    = "A"
  content = "192.0.2.1"
  ttl     = 300
  comment = "with a comment"
  tags    = ["owner:dns", "plain"]
}
resource "cloudflare_dns_record" "proxied" {
  zone_id = "ID"
  name    = "p.ZONE"
  type    = "A"
  content = "192.0.2.2"
  ttl     = 1
  proxied = true
}
resource "cloudflare_dns_record" "aaaa" {
  zone_id = "ID"
  name    = "a.ZONE"
  type    = "AAAA"
  content = "2001:db8::1"
  ttl     = 300
}
resource "cloudflare_dns_record" "cname" {
  zone_id = "ID"
  name    = "c.ZONE"
  type    = "CNAME"
  content = "Target.example.net"
  ttl     = 300
  settings = {
    flatten_cname = false
    ipv4_only     = false
    ipv6_only     = false
  }
}
resource "cloudflare_dns_record" "apex" {
  zone_id = "ID"
  name    = "ZONE"
  type    = "TXT"
  content = "\\"v=spf1 -all\\""
  ttl     = 3600
}
resource "cloudflare_dns_record" "unquoted" {
  zone_id = "ID"
  name    = "txt.ZONE"
  type    = "TXT"
  content = "hello"
  ttl     = 1
}
resource "cloudflare_dns_record" "mx" {
  zone_id  = "ID"
  name     = "ZONE"
  type     = "MX"
  content  = "mail.example.net"
  priority = 10
  ttl      = 3600
}
resource "cloudflare_dns_record" "srv" {
  zone_id = "ID"
  name    = "_sip._tcp.ZONE"
  type    = "SRV"
  ttl     = 600
  data = {
    priority = 10
    weight   = 5
    port     = 5060
    target   = "sip.example.net"
  }
}
resource "cloudflare_dns_record" "caa" {
  zone_id = "ID"
  name    = "ZONE"
  type    = "CAA"
  ttl     = 3600
  data = {
    flags = 0
    tag   = "issue"
    value = "ca.example"
  }
}
resource "cloudflare_dns_record" "https" {
  zone_id = "ID"
  name    = "web.ZONE"
  type    = "HTTPS"
  ttl     = 600
  data = {
    priority = 1
    target   = "."
    value    = "alpn=\\"h2,h3\\""
  }
}
resource "cloudflare_dns_record" "ns" {
  zone_id = "ID"
  name    = "child.ZONE"
  type    = "NS"
  content = "ns.example.net"
  ttl     = 600
}
"""


@pytest.mark.case(9, 10)
def test_records_do_not_drift(place: Workspace, control: Control, zone: Any, release: str) -> None:
    """Case 9, 10 and trap 10 to 14: every form that public configurations have."""
    hcl = RECORDS.replace("ZONE", zone["name"]).replace("ID", zone["id"])
    if release == "5.8":  # takes no number there
        hcl = hcl.replace("flags = 0", 'flags = "0"')
    place.apply(hcl)
    place.assert_in_place()
    assert len(control.call("GET", f"/zones/{zone['id']}/dns_records")) == 11
    place.apply(hcl.replace("192.0.2.1", "192.0.2.9").replace("priority = 10", "priority = 20"))
    place.assert_in_place()


def test_short_names_do_not_drift(place: Workspace, control: Control, zone: Any, release: str) -> None:
    """Trap 12: `@` and relative names, which the provider compares itself since 5.10."""
    if release == "5.8":
        pytest.skip("provider before 5.10 wants whole names: documented")
    place.apply(f"""
resource "cloudflare_dns_record" "apex" {{
  zone_id = "{zone["id"]}"
  name    = "@"
  type    = "A"
  content = "192.0.2.1"
  ttl     = 300
}}
resource "cloudflare_dns_record" "dmarc" {{
  zone_id = "{zone["id"]}"
  name    = "_dmarc"
  type    = "TXT"
  content = "\\"v=DMARC1; p=reject\\""
  ttl     = 1
}}
""")
    place.assert_in_place()


def test_what_was_deleted_elsewhere_is_made_again(place: Workspace, control: Control, zone: Any) -> None:
    place.apply(published(control.account, zone["name"]))
    record, tunnel = place.values(RECORD)["id"], place.values(TUNNEL)["id"]
    control.call("DELETE", f"/zones/{zone['id']}/dns_records/{record}")
    assert place.planned() == {RECORD: ["create"]}
    control.call("DELETE", f"{control.tunnels()}/{tunnel}")
    planned = place.planned()
    assert planned[TUNNEL] == ["create"]
    assert planned[RECORD] == ["create"]
    place.apply()
    place.assert_in_place()


def test_import_then_nothing_to_do(place: Workspace, control: Control, zone: Any) -> None:
    """Trap 4: an import plans no replacement."""
    hcl = published(control.account, zone["name"])
    place.apply(hcl)
    tunnel, record = place.values(TUNNEL)["id"], place.values(RECORD)["id"]
    place.forget()
    place.succeeds("import", "-no-color", TUNNEL, f"{control.account}/{tunnel}")
    place.succeeds("import", "-no-color", CONFIG, f"{control.account}/{tunnel}")
    place.succeeds("import", "-no-color", RECORD, f"{zone['id']}/{record}")
    planned = place.planned()
    place.apply()
    place.assert_in_place()
    assert planned == {}


def test_a_taken_name_fails_at_once(place: Workspace, control: Control) -> None:
    """Trap 16: no ten retries."""
    taken = control.create_tunnel("taken by another")
    place.write(f"""
resource "cloudflare_zero_trust_tunnel_cloudflared" "t" {{
  account_id = "{control.account}"
  name       = "taken by another"
  config_src = "cloudflare"
}}
""")
    outcome = place.run("apply", "-auto-approve", "-no-color")
    assert outcome.code == 1
    assert outcome.seconds < 5.0
    assert "409" in outcome.text
    assert "already" in outcome.text
    control.call("DELETE", f"{control.tunnels()}/{taken['id']}")


@pytest.mark.case(64)
def test_lists_are_complete(place: Workspace, control: Control, zone: Any) -> None:
    zones = [control.create_zone(f"l{number}.{zone['name']}") for number in range(30)]
    posts = [
        {"type": "A", "name": f"n{number}", "content": f"10.0.{number // 250}.{number % 250}", "ttl": 300}
        for number in range(2_345)
    ]
    control.call("POST", f"/zones/{zone['id']}/dns_records/batch", {"posts": posts})
    tunnels = [control.create_tunnel(f"listed {number}") for number in range(250)]
    # the provider asks for no size, so that a page has as many as we say
    accounts = [control.call("POST", "/accounts", {"name": f"listed {number}"}) for number in range(250)]
    try:
        place.apply(f"""
data "cloudflare_accounts" "all" {{}}
data "cloudflare_zones" "all" {{
  account = {{ id = "{control.account}" }}
}}
data "cloudflare_dns_records" "all" {{
  zone_id   = "{zone["id"]}"
  max_items = 5000
}}
data "cloudflare_zero_trust_tunnel_cloudflareds" "all" {{
  account_id     = "{control.account}"
  include_prefix = "listed"
  is_deleted     = false
  max_items      = 5000
}}
output "accounts" {{ value = data.cloudflare_accounts.all.result[*].id }}
output "zones"    {{ value = data.cloudflare_zones.all.result[*].id }}
output "records"  {{ value = data.cloudflare_dns_records.all.result[*].id }}
output "tunnels"  {{ value = data.cloudflare_zero_trust_tunnel_cloudflareds.all.result[*].id }}
""")
        found = place.outputs()
        assert len(found["accounts"]) == len(set(found["accounts"])) == len(accounts) + 1
        assert {control.account, *(each["id"] for each in accounts)} == set(found["accounts"])
        assert {each["id"] for each in zones} <= set(found["zones"])
        assert (len(found["records"]), len(set(found["records"]))) == (2_345, 2_345)
        assert set(found["tunnels"]) == {each["id"] for each in tunnels}
    finally:
        for each in tunnels:
            control.call("DELETE", f"{control.tunnels()}/{each['id']}")
        for each in zones:
            control.call("DELETE", f"/zones/{each['id']}")
        for each in accounts:
            control.call("DELETE", f"/accounts/{each['id']}")


def test_private_networks_and_zone(place: Workspace, control: Control, zone: Any, release: str) -> None:
    domain = f"made-{release.replace('.', '-')}.{zone['name']}"
    hcl = f"""
resource "cloudflare_zone" "z" {{
  account = {{ id = "{control.account}" }}
  name    = "{domain}"
  type    = "full"
}}
resource "cloudflare_zero_trust_tunnel_cloudflared" "t" {{
  account_id = "{control.account}"
  name       = "private"
  config_src = "cloudflare"
}}
resource "cloudflare_zero_trust_tunnel_cloudflared_virtual_network" "v" {{
  account_id = "{control.account}"
  name       = "office"
  comment    = "second floor"
}}
resource "cloudflare_zero_trust_tunnel_cloudflared_route" "r" {{
  account_id         = "{control.account}"
  network            = "10.1.0.0/16"
  tunnel_id          = cloudflare_zero_trust_tunnel_cloudflared.t.id
  virtual_network_id = cloudflare_zero_trust_tunnel_cloudflared_virtual_network.v.id
}}
"""
    place.apply(hcl)
    place.assert_in_place()
    place.apply(hcl.replace("second floor", "third floor").replace("10.1.0.0/16", "10.2.0.0/16"))
    place.assert_in_place()


def test_tokens(place: Workspace, control: Control, release: str) -> None:
    """Both kinds, from the group's name to a value that works."""
    groups = control.call("GET", "/user/tokens/permission_groups")
    group = next(each["id"] for each in groups if each["name"] == "DNS Write")
    resources = f'{{ "com.cloudflare.api.account.{control.account}" = "*" }}'
    if release != "5.8":
        resources = f"jsonencode({resources})"
    hcl = f"""
resource "cloudflare_api_token" "t" {{
  name     = "by terraform"
  policies = [{{
    effect            = "allow"
    permission_groups = [{{ id = "{group}" }}]
    resources         = {resources}
  }}]
}}
resource "cloudflare_account_token" "t" {{
  account_id = "{control.account}"
  name       = "owned, by terraform"
  policies   = [{{
    effect            = "allow"
    permission_groups = [{{ id = "{group}" }}]
    resources         = {resources}
  }}]
}}
data "cloudflare_user" "me" {{}}
"""
    place.apply(hcl)
    place.assert_in_place()
    for address in ("cloudflare_api_token.t", "cloudflare_account_token.t"):
        value = place.values(address)["value"]
        answer = control.http.get("/user/tokens/verify", headers={"authorization": f"Bearer {value}"})
        assert answer.json()["result"]["status"] == "active"
    place.apply(hcl.replace("by terraform", "renamed"))
    place.assert_in_place()


# -------------------------------------------------------------------------------------------------- with a connector
@pytest.mark.case(81)
@pytest.mark.trap(9)
@pytest.mark.parametrize("disconnects", [True, False], ids=["option on", "option off"])
def test_destroy_with_a_live_connector(live: Edge, release: str, tmp_path: Path, disconnects: bool) -> None:
    """With the account's option the tunnel's connectors are cut, as v4 and the dashboard do it; without, 1022."""
    zone = f"live-{release.replace('.', '-')}-{disconnects}.test".lower()
    account = live.api.account
    zone_id = live.api.create_zone(zone)
    set_option(live, disconnects)
    place = Workspace(tmp_path / "tf", release, environment(live.ready["api"], api_token(live)))
    place.apply(published(account, zone, name=zone))
    tunnel = place.values(TUNNEL)["id"]
    connector = Connector(tmp_path / "connector", live, place.outputs()["token"])
    try:
        wait_until(lambda: live.api.connectors(tunnel), "the connector in the API")
        outcome = place.destroy()
        if disconnects:
            assert outcome.code == 0, outcome.text
        else:
            assert outcome.code == 1
            assert "1022" in outcome.text
    finally:
        if disconnects:  # told that the tunnel is gone
            connector.process.kill()
        else:
            connector.stop()
    if not disconnects:
        wait_until(lambda: not live.api.connectors(tunnel), "the connector to be gone")
        outcome = place.destroy()
        assert outcome.code == 0, outcome.text
    live.api.call("DELETE", f"/zones/{zone_id}")


def set_option(live: Edge, disconnects: bool) -> None:
    account = live.api.account
    name = live.api.call("GET", f"/accounts/{account}")["name"]
    live.api.call("PUT", f"/accounts/{account}", {"name": name, "settings": {"delete_disconnects": disconnects}})


def api_token(live: Edge) -> str:
    return (live.data_dir / "first-token").read_text().strip()
