"""lego proves control of names in our zones by DNS-01, with `CLOUDFLARE_BASE_URL` as the only change.

`QANAT_TEST_LEGO` names lego 5, `QANAT_TEST_PEBBLE` a pebble to issue.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import DNSName, SubjectAlternativeName, load_pem_x509_certificate

from tests.support.acme import Pebble, needs_pebble
from tests.support.control import Control
from tests.support.dns import Nameserver
from tests.support.processes import Process

LEGO = os.environ.get("QANAT_TEST_LEGO")
pytestmark = [pytest.mark.skipif(not LEGO, reason="QANAT_TEST_LEGO does not name a lego binary"), needs_pebble]


@pytest.fixture(scope="module")
def nameserver(control: Control) -> Iterator[Nameserver]:
    with Nameserver(control) as nameserver:
        yield nameserver


@pytest.fixture(scope="module")
def pebble(nameserver: Nameserver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with Pebble(tmp_path_factory.mktemp("pebble"), nameserver) as pebble:
        yield pebble


@pytest.fixture
def zone(control: Control, request: pytest.FixtureRequest) -> Any:
    return control.create_zone(f"{request.node.originalname.replace('_', '-')}.test")


class Lego:
    """One state folder of lego."""

    def __init__(self, folder: Path, control: Control, nameserver: Nameserver, pebble: Pebble) -> None:
        self.folder = folder
        self._control = control
        self._nameserver = nameserver
        self._pebble = pebble

    def run(self, *names: str, token: str | None = None, **env: str) -> Process:
        assert LEGO
        lego = Process(
            "lego",
            [
                LEGO,
                *("run", "--accept-tos", "--email", "me@example.test", "--path", str(self.folder)),
                *("--server", self._pebble.directory, "--dns", "cloudflare"),
                # authoritative servers are asked on port 53, which the test's isn't on; the recursive check asks it
                *("--dns.resolvers", self._nameserver.address, "--dns.propagation.disable-ans"),
                *(flag for name in names for flag in ("--domains", name)),
            ],
            {
                "CLOUDFLARE_BASE_URL": self._control.url,
                "CF_DNS_API_TOKEN": token or self._control.token,
                "CLOUDFLARE_POLLING_INTERVAL": "1",
                "LEGO_CA_CERTIFICATES": str(self._pebble.ca_file),
                **env,
            },
        )
        lego.wait(timeout_s=90.0)
        return lego

    def names(self) -> list[str]:
        (file,) = (file for file in self.folder.glob("certificates/*.crt") if ".issuer" not in file.name)
        extensions = load_pem_x509_certificate(file.read_bytes()).extensions
        return sorted(extensions.get_extension_for_class(SubjectAlternativeName).value.get_values_for_type(DNSName))


@pytest.fixture
def lego(tmp_path: Path, control: Control, nameserver: Nameserver, pebble: Pebble) -> Lego:
    return Lego(tmp_path / "lego", control, nameserver, pebble)


def texts(control: Control, zone: Any) -> list[str]:
    return [record["content"] for record in control.call("GET", f"/zones/{zone['id']}/dns_records", type="TXT")]


def test_one_name(lego: Lego, control: Control, zone: Any) -> None:
    ended = lego.run(f"www.{zone['name']}")
    assert ended.exit_code == 0, ended.out + ended.lines
    assert lego.names() == [f"www.{zone['name']}"]
    assert texts(control, zone) == []


@pytest.mark.case(35)
def test_apex_and_wildcard_together(lego: Lego, control: Control, zone: Any) -> None:
    names = [f"*.{zone['name']}", zone["name"]]
    ended = lego.run(*names)
    assert ended.exit_code == 0, ended.out + ended.lines
    assert lego.names() == names
    assert texts(control, zone) == []


def test_a_zone_below_another(lego: Lego, control: Control, zone: Any) -> None:
    """SOA at each apex decides which zone the record goes into."""
    child = control.create_zone(f"child.{zone['name']}")
    ended = lego.run(f"a.{child['name']}", f"a.{zone['name']}")
    assert ended.exit_code == 0, ended.out + ended.lines
    assert texts(control, zone) == texts(control, child) == []


def test_two_tokens(lego: Lego, control: Control, zone: Any) -> None:
    """lego's own advice: one token that reads zones, one that edits the records of a single one."""
    groups = {group["name"]: group["id"] for group in control.call("GET", "/user/tokens/permission_groups")}

    def token(name: str, group: str, resource: str) -> str:
        policy = {"effect": "allow", "resources": {resource: "*"}, "permission_groups": [{"id": groups[group]}]}
        return str(control.call("POST", "/user/tokens", {"name": name, "policies": [policy]})["value"])

    of_zone = f"com.cloudflare.api.account.zone.{zone['id']}"
    ended = lego.run(
        zone["name"],
        token=token("records", "DNS Write", of_zone),
        CF_ZONE_API_TOKEN=token("zones", "Zone Read", of_zone),
    )
    assert ended.exit_code == 0, ended.out + ended.lines
    assert texts(control, zone) == []


def test_a_wrong_token_is_told(lego: Lego, zone: Any) -> None:
    ended = lego.run(zone["name"], token="x" * 40)
    assert ended.exit_code != 0
    assert "9109" in "\n".join(ended.out + ended.lines)
