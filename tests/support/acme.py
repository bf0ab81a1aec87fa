"""Pebble, Let's Encrypt's test CA: it issues for whom our records vouch."""

import json
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest
import trustme

from tests.support.dns import Nameserver, Zone
from tests.support.processes import Process
from tests.support.waiting import wait_until

PEBBLE = os.environ.get("QANAT_TEST_PEBBLE")
TRIES = 5
"""Pebble can't say which port it was given: it takes one that was free a moment ago."""
needs_pebble = pytest.mark.skipif(not PEBBLE, reason="QANAT_TEST_PEBBLE does not name a pebble binary")


class Pebble:
    """A CA on loopback. `directory` is its URL, `ca_file` what its own HTTPS is signed by."""

    def __init__(
        self,
        folder: Path,
        nameserver: Nameserver | Zone,
        *,
        http_port: int = 5002,
        tls_port: int = 5001,
        refuses_nonces: int = 0,
        external_accounts: Mapping[str, str] | None = None,
    ) -> None:
        """`refuses_nonces`: of a hundred; `external_accounts`: HMAC key by key id, one of which an account must be bound to."""
        assert PEBBLE, "QANAT_TEST_PEBBLE names no pebble"
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        leaf.private_key_pem.write_to_path(folder / "key.pem")
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(folder / "certificate.pem", append=True)
        configuration = {
            "certificate": str(folder / "certificate.pem"),
            "privateKey": str(folder / "key.pem"),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": external_accounts is not None,
            "externalAccountMACKeys": dict(external_accounts or {}),
        }
        self._tls = ssl.create_default_context(cafile=self.ca_file)
        for _ in range(TRIES):
            listen, management = (f"127.0.0.1:{_free_port()}" for _ in range(2))
            addresses = {"listenAddress": listen, "managementListenAddress": management}
            (folder / "pebble.json").write_text(json.dumps({"pebble": {**configuration, **addresses}}))
            self.directory = f"https://{listen}/dir"
            self._management = f"https://{management}"
            self.process = Process(
                "pebble",
                [PEBBLE, "-config", str(folder / "pebble.json"), "-dnsserver", nameserver.address],
                {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": str(refuses_nonces), "PEBBLE_AUTHZREUSE": "0"},
            )
            if wait_until(self._stands, "pebble's directory") == "ready":
                return
        raise AssertionError(self.process.log())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()

    def root(self) -> str:
        """What its certificates lead to, PEM: another one with each start."""
        return httpx.get(f"{self._management}/roots/0", verify=self._tls, trust_env=False).text

    def _stands(self) -> str:
        """`ready`, `taken` (a port that was free is another's by now), or "" for not yet."""
        if not self.process.running:
            assert "address already in use" in self.process.log(), self.process.log()
            return "taken"
        try:
            asked = httpx.get(self.directory, verify=self._tls, trust_env=False, timeout=2.0)
        except httpx.TransportError:
            return ""
        return "ready" if asked.status_code == 200 else ""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
