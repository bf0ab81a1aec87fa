"""h2spec's own program against the public listener: its cases as others run them, with requests that reach an origin."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.sites import Site

H2SPEC = os.environ.get("QANAT_TEST_H2SPEC")

pytestmark = [
    pytest.mark.requirement("S25"),
    pytest.mark.skipif(H2SPEC is None, reason="QANAT_TEST_H2SPEC does not name an h2spec binary"),
]


def test_every_case_of_h2spec_passes(site: Site, folder: Path) -> None:
    """In a mount namespace of its own, where the hostname leads to the edge: h2spec takes its authority from where it dials."""
    assert H2SPEC is not None
    host, _, port = site.edge.https.rpartition(":")
    hosts = folder / "hosts"
    hosts.write_text(f"{host} {site.hostname}\n")
    inside = f"mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec {shlex.quote(H2SPEC)} "
    flags = f"--tls --insecure --host {site.hostname} --port {port} --timeout 5"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", inside + flags],
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    assert told is not None, done.stdout[-2000:] + done.stderr[-2000:]
    assert told.groups() == ("146", "146", "0", "0"), done.stdout[-6000:]
    assert site.origin.requests, "they reached the origin"
