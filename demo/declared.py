"""What is declared of the two sites: by Terraform, where its program and the stock provider are given, else by the same
calls of the API.

`QANAT_TEST_TERRAFORM` names a folder with `terraform` or `tofu` and `terraform-provider-cloudflare_vVERSION`.
"""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qanat.client.api import ApiRefusedError, Client

ROOTS = Path(__file__).parents[1] / "deploy/terraform"
PRODUCTION = "production"
SECOND_SITE = "second-site"


class RefusedError(Exception):
    """The API refused what was declared; its words."""


@dataclass(frozen=True)
class Site:
    """A tunnel, and the token of its connectors."""

    tunnel_id: str
    token: str


class Declared(Protocol):
    """A production, and a second site for its hostname."""

    how: str

    def production(self, service: str) -> Site:
        """Tunnel, rule, and the hostname's record."""

    def second_site(self, service: str, *, takes_over_from: str) -> Site:
        """Tunnel and rule; the record stays where it is (`activate_dns = false`)."""

    def activate(self, wanted: bool) -> str:
        """Applies `activate_dns`; what was said. RefusedError."""


class ByApi:
    """The calls that the provider makes."""

    how = "by the API calls that Terraform's provider makes"

    def __init__(self, api: Client, account: str, zone: str, hostname: str) -> None:
        self._api = api
        self._account = account
        self._hostname = hostname
        self._zone_id = api.create_zone(account, zone).id
        self._tunnels: dict[str, str] = {}

    def production(self, service: str) -> Site:
        site = self._tunnel(PRODUCTION, service)
        self._record_id = self._api.route_hostname(self._zone_id, self._hostname, site.tunnel_id).id
        return site

    def second_site(self, service: str, *, takes_over_from: str) -> Site:
        return self._tunnel(SECOND_SITE, service)

    def activate(self, wanted: bool) -> str:
        target = self._tunnels[SECOND_SITE if wanted else PRODUCTION]
        record = {
            "type": "CNAME",
            "name": self._hostname,
            "content": f"{target}.cfargotunnel.com",
            "proxied": True,
            "ttl": 1,
        }
        try:
            self._api.result("PUT", f"/zones/{self._zone_id}/dns_records/{self._record_id}", body=record)
        except ApiRefusedError as error:
            raise RefusedError(f"{error.status}: {error.message}") from error
        return f"PUT …/dns_records/{self._record_id}: {record['content']}"

    def _tunnel(self, name: str, service: str) -> Site:
        tunnel = self._api.create_tunnel(self._account, name)
        rules = [{"hostname": self._hostname, "service": service}, {"service": "http_status:404"}]
        self._api.put_configuration(self._account, tunnel.id, {"ingress": rules})
        self._tunnels[name] = tunnel.id
        return Site(tunnel.id, self._api.connector_token(self._account, tunnel.id))


class ByTerraform:
    """deploy/terraform, copied; each root with a state of its own."""

    def __init__(
        self, folder: Path, program: Path, provider: Path, api: str, token: str, variables: Mapping[str, Any]
    ) -> None:
        self.how = f"by {program.name}, with the stock provider"
        self._folder = folder / "terraform"
        self._program = program
        self._variables = dict(variables)
        shutil.copytree(ROOTS, self._folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        self._environment = {
            **os.environ,
            "TF_CLI_CONFIG_FILE": str(mirror(folder, provider)),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "CHECKPOINT_DISABLE": "1",
            "CLOUDFLARE_BASE_URL": api,
            "CLOUDFLARE_API_TOKEN": token,
        }

    def production(self, service: str) -> Site:
        return self._site(PRODUCTION, service)

    def second_site(self, service: str, *, takes_over_from: str) -> Site:
        return self._site(SECOND_SITE, service, takes_over_from=takes_over_from)

    def activate(self, wanted: bool) -> str:
        said = self._run(SECOND_SITE, "apply", "-auto-approve", "-no-color", "-var", f"activate_dns={wanted}".lower())
        return next(line for line in reversed(said.splitlines()) if "Apply complete" in line)

    def _site(self, root: str, service: str, **more: str) -> Site:
        rules = [{"hostname": self._variables["hostname"], "service": service}]
        named = {name: value for name, value in self._variables.items() if name != "hostname"}
        file = self._folder / root / "terraform.tfvars.json"
        file.write_text(json.dumps({**named, "ingress": rules, **more}))
        self._run(root, "init", "-no-color")
        self._run(root, "apply", "-auto-approve", "-no-color")
        return Site(*(self._run(root, "output", "-raw", name) for name in ("tunnel_id", "tunnel_token")))

    def _run(self, root: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._program, *arguments],
            cwd=self._folder / root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RefusedError(done.stderr.strip() or done.stdout.strip())
        return done.stdout


def mirror(folder: Path, provider: Path) -> Path:
    """A CLI configuration by which the provider comes from this machine alone."""
    version = provider.name.rpartition("_v")[2]
    system = f"linux_{ {'x86_64': 'amd64', 'aarch64': 'arm64'}[platform.machine()] }"
    for registry in ("registry.terraform.io", "registry.opentofu.org"):
        place = folder / "mirror" / registry / "cloudflare/cloudflare" / version / system
        place.mkdir(parents=True, exist_ok=True)
        (place / provider.name).symlink_to(provider.resolve())
    file = folder / "cli.tfrc"
    file.write_text(
        f'disable_checkpoint = true\nprovider_installation {{ filesystem_mirror {{ path = "{folder / "mirror"}" }} }}\n'
    )
    return file


def given() -> tuple[Path, Path] | None:
    """Terraform's program and the newest provider of version 5, where there are both."""
    folder = Path(os.environ.get("QANAT_TEST_TERRAFORM") or "/nonexistent")
    programs = [folder / name for name in ("tofu", "terraform") if (folder / name).exists()]
    providers = sorted(
        folder.glob("terraform-provider-cloudflare_v5.*"),
        key=lambda file: [int(part) for part in file.name.rpartition("_v")[2].split(".")],
    )
    return (programs[0], providers[-1]) if programs and providers else None
