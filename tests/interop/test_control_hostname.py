"""Stock clients on another machine: the API by `control.hostname` on the public listener, with a certificate that a CA issued.

`QANAT_TEST_PEBBLE` names the CA's binary; Terraform and cloudflared are tried where they are given. What leads the name here is a
hosts file, which needs `unshare`.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.test_terraform import environment, published
from tests.process.test_certificates import API, Lab, started
from tests.support.acme import needs_pebble
from tests.support.connector import STOCK
from tests.support.fixtures import NO_STOCK
from tests.support.processes import clean_environment
from tests.support.terraform import Workspace, needs_terraform

WITHIN = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
RUN_S = 100.0
SDK = """
import sys
from cloudflare import Cloudflare
with Cloudflare(base_url=sys.argv[1], api_token=sys.argv[2]) as client:
    zone = client.zones.create(name="sdk.test", account={"id": sys.argv[3]}, type="full")
    made = client.zero_trust.tunnels.cloudflared.create(account_id=sys.argv[3], name="by-sdk", config_src="cloudflare")
    client.dns.records.create(
        zone_id=zone.id, type="CNAME", name="app", content=f"{made.id}.cfargotunnel.com", proxied=True, ttl=1
    )
    print(*[record.name for record in client.dns.records.list(zone_id=zone.id)])
"""


def _why_not() -> str:
    if shutil.which("unshare") is None:
        return "there is no unshare"
    tried = subprocess.run([*WITHIN, "mount", "--bind", "/etc/hosts", "/etc/hosts"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "no mount namespace may be made here"


pytestmark = [needs_pebble, pytest.mark.skipif(bool(_why_not()), reason=_why_not()), pytest.mark.timeout(300)]


@dataclass
class Laptop:
    """A machine where the name leads to the edge, and the CA is one of those that are known."""

    lab: Lab
    folder: Path

    @property
    def url(self) -> str:
        return f"https://{API}:{self.lab.edge.https.rpartition(':')[2]}/client/v4"

    @property
    def token(self) -> str:
        return (self.lab.edge.data_dir / "first-token").read_text().strip()

    @property
    def env(self) -> dict[str, str]:
        return {**clean_environment(), "HOME": str(self.folder), "SSL_CERT_FILE": str(self.folder / "root.pem")}

    def argv(self, *command: str) -> list[str]:
        mounted = f'mount --bind {shlex.quote(str(self.folder / "hosts"))} /etc/hosts && exec "$@"'
        return [*WITHIN, "sh", "-c", mounted, "sh", *command]

    def program(self, name: str, program: str) -> str:
        """A program of this machine as one that runs there."""
        file = self.folder / name
        file.write_text(f'#!/bin/sh\nexec {shlex.join(self.argv(program))} "$@"\n')
        file.chmod(0o755)
        return str(file)

    def succeeds(self, *command: str) -> str:
        done = subprocess.run(
            self.argv(*command), env=self.env, capture_output=True, text=True, timeout=RUN_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("laptop")
    with started(tmp_path_factory.mktemp("acme"), control_hostname=API) as lab:
        lab.until(API, "active")
        (folder / "root.pem").write_text(lab.pebble.root())
        (folder / "hosts").write_text(f"127.0.0.1 localhost {API}\n")
        yield Laptop(lab, folder)


def test_the_sdk(laptop: Laptop) -> None:
    api = laptop.lab.edge.api
    said = laptop.succeeds(sys.executable, "-c", SDK, laptop.url, laptop.token, api.account)
    assert said.split() == ["app.sdk.test"]
    assert [each["name"] for each in api.call("GET", f"/accounts/{api.account}/cfd_tunnel", name="by-sdk")] == [
        "by-sdk"
    ]


@pytest.mark.cloudflared
@pytest.mark.skipif(not STOCK, reason=NO_STOCK)
def test_commands_of_a_stock_cloudflared(laptop: Laptop) -> None:
    assert STOCK
    edge = laptop.lab.edge
    certificate = laptop.folder / "cert.pem"
    made = edge.api.call("POST", f"/qanat/zones/{laptop.lab.zone_id}/origin-certificate", {})["certificate"]
    certificate.write_text(made)
    stock = (STOCK, "tunnel", "--api-url", laptop.url, "--origincert", str(certificate))
    laptop.succeeds(*stock, "create", "by-stock")
    laptop.succeeds(*stock, "route", "dns", "by-stock", "stock.acme.test")
    (listed,) = json.loads(laptop.succeeds(*stock, "list", "--output", "json", "--name", "by-stock"))
    (record,) = edge.api.call("GET", f"/zones/{laptop.lab.zone_id}/dns_records", name="stock.acme.test")
    assert record["content"] == f"{listed['id']}.cfargotunnel.com"
    laptop.succeeds(*stock, "delete", "-f", "by-stock")


@needs_terraform
def test_terraform(laptop: Laptop, tmp_path: Path) -> None:
    env = {**environment(laptop.url, laptop.token), "SSL_CERT_FILE": laptop.env["SSL_CERT_FILE"]}
    place = Workspace(tmp_path, "5.22", env)
    place.program = laptop.program("terraform", place.program)
    api = laptop.lab.edge.api
    zone = api.call("POST", "/zones", {"name": "tf.test", "account": {"id": api.account}})
    place.apply(published(api.account, zone["name"]))
    place.assert_in_place()
    (record,) = api.call("GET", f"/zones/{zone['id']}/dns_records", name="app.tf.test")
    assert record["comment"] == "by terraform"
    ended = place.destroy()
    assert ended.code == 0, ended.text
