"""User data for a host's first boot: the package, the service, its token by a file of root's alone, and the lockdown."""

import json
import re
import shlex
from collections.abc import Sequence

from msgspec import Struct

from qanat.errors import QanatError

FOLDER = "/run/qanat-setup"
"""In memory, and gone when all is done."""

_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+/[\x21-\x7e]*")
_HASH = re.compile(r"[0-9a-f]{64}")


class FirstBoot(Struct, frozen=True):
    """`package_url` is None where the image has the package. `flags`: of `tunnel run`. `authority`: the edge's CA, PEM."""

    token: str
    package_url: str | None = None
    package_sha256: str | None = None
    flags: tuple[str, ...] = ()
    authority: str | None = None
    lockdown: bool = True
    keep_interfaces: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"FirstBoot(package_url={self.package_url!r}, lockdown={self.lockdown!r})"


def render(boot: FirstBoot) -> str:
    """The user data: `#cloud-config`, YAML in which every text is quoted as JSON has it.

    Raises:
        QanatError: `cloud_init_bad_package`.
    """
    _check_package(boot)
    files = [("token", "0600", f"{boot.token}\n")]
    if boot.authority is not None:
        files.append(("ca.pem", "0644", boot.authority))
    files.append(("setup", "0700", _script(boot)))
    lines = ["#cloud-config", "# Written by `qanat cloud-init`. It has a secret: the connector's token."]
    if boot.lockdown:
        lines += ["package_update: true", "packages: [nftables]"]
    lines.append("write_files:")
    for name, mode, content in files:
        lines += [f'  - path: "{FOLDER}/{name}"', '    owner: "root:root"', f'    permissions: "{mode}"']
        if name == "setup":
            lines += ["    content: |", *(f"      {line}".rstrip() for line in content.splitlines())]
        else:
            lines.append(f"    content: {json.dumps(content)}")
    lines += ["runcmd:", f'  - ["/bin/sh", "{FOLDER}/setup"]']
    return "\n".join(lines) + "\n"


def _script(boot: FirstBoot) -> str:
    lines = ["#!/bin/sh", "set -eu", f"cd {FOLDER}", f"trap 'rm -rf {FOLDER}' EXIT"]
    if boot.package_url is not None:
        url = shlex.quote(boot.package_url)
        lines += [
            "if command -v curl >/dev/null; then",
            f"    curl --fail --silent --show-error --location --retry 12 --retry-connrefused --output qanat.deb {url}",
            "else",
            f"    wget --quiet --tries=12 --retry-connrefused --waitretry=10 --output-document=qanat.deb {url}",
            "fi",
            f'echo "{boot.package_sha256}  qanat.deb" | sha256sum --check --quiet',
            "dpkg --install qanat.deb",
        ]
    if boot.lockdown:
        kept = "".join(f" --keep-interface {shlex.quote(each)}" for each in boot.keep_interfaces)
        lines.append(f"qanat lockdown --apply{kept}")
    authority = ["--cacert", f"{FOLDER}/ca.pem"] if boot.authority is not None else []
    install: Sequence[str] = (
        "qanat", "service", "install", "--token-file", f"{FOLDER}/token", *authority, *boot.flags
    )  # fmt: skip
    lines.append(shlex.join(install))
    return "\n".join(lines) + "\n"


def _check_package(boot: FirstBoot) -> None:
    if boot.package_url is None:
        return
    if not _URL.fullmatch(boot.package_url):
        raise QanatError(
            "cloud_init_bad_package", "this is no address of a package", where="--package-url",
            hint="write https://host/path/qanat-linux-amd64.deb",
        )  # fmt: skip
    if boot.package_sha256 is None or not _HASH.fullmatch(boot.package_sha256):
        raise QanatError(
            "cloud_init_bad_package", "what is downloaded is checked by its hash, and there is none", where="--sha256",
            hint="give 64 hexadecimal digits (sha256sum FILE), or the file by --package",
        )  # fmt: skip
