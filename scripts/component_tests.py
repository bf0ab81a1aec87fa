"""cloudflared's own component tests, with qanat as the binary: in a network and mounts of its own, where a qanat edge and its API
have the hosted names.

    scripts/component_tests.py FOLDER --python PYTHON [--prefer-ipv4] [pytest's arguments]

FOLDER: `component-tests` of cloudflared's source. PYTHON: an interpreter with its requirements. As root, on Debian, with `ip` and
`unshare`; it takes 20 minutes. docs/compatibility.md has the results.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
import dns.rrset

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.api import Api
from tests.support.dns import Zone
from tests.support.processes import QANAT, Process

INSIDE = "QANAT_COMPONENT_TESTS_INSIDE"
HOSTED = ("argotunnel.com.", "cloudflare.com.", "trycloudflare.com.", "cftunnel.com.", "example.test.")
OVERLAID = ("etc", "usr/local", "var", "root")
"""What the tests of the service write, and the interpreter may be in."""


class HostedNames(Zone):
    """Every hosted name is this machine; edges are found as the hosted ones are."""

    port = 53

    def _answer(self, raw: bytes) -> bytes:
        query = dns.message.from_wire(raw)
        answer = dns.message.make_response(query)
        name, kind = query.question[0].name.to_text().lower(), dns.rdatatype.to_text(query.question[0].rdtype)
        texts: list[str] = []
        if kind == "SRV" and name.startswith("_v2-origintunneld."):
            texts = [f"{number} 1 7844 region{number}.v2.argotunnel.com." for number in (1, 2)]
        elif name.endswith(HOSTED) and not name.startswith("_"):
            texts = {"A": ["127.0.0.2" if name.startswith("region2.") else "127.0.0.1"], "AAAA": ["::1"]}.get(kind, [])
        if texts:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *texts))
        return answer.to_wire()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="component-tests of cloudflared's source")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with their requirements")
    parser.add_argument("--prefer-ipv4", action="store_true", help="as some machines do")
    asked, more = parser.parse_known_args()
    if INSIDE not in os.environ:
        with tempfile.TemporaryDirectory(prefix="qanat-component-tests-") as folder:
            within = ["unshare", "-n", "-m", "--propagation", "private", sys.executable, *sys.argv]
            return subprocess.run(within, env={**os.environ, INSIDE: folder}, check=False).returncode
    top = Path(os.environ[INSIDE])
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(top))
    _enclose(top, prefers_ipv4=asked.prefer_ipv4)
    names = HostedNames({})
    with _hosted(top) as env:
        tests = [asked.python, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-rfs", "--tb=short", *more]
        done = subprocess.run(tests, cwd=asked.folder, env=env, check=False)
    names.close()
    return done.returncode


def _enclose(top: Path, *, prefers_ipv4: bool) -> None:
    """Loopback and a default route; files that may be written and are gone afterwards."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "route", "add", "default", "dev", "lo")
    for name in OVERLAID:
        upper, work = top / "overlay" / name / "upper", top / "overlay" / name / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        layers = f"lowerdir=/{name},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "overlay", "-o", layers, f"/{name}")
    Path("/root").chmod(0o755)  # an interpreter may be below
    Path("/etc/cloudflared").mkdir(exist_ok=True)
    Path("/etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    order = "precedence ::ffff:0:0/96 100\nprecedence ::1/128 10\n"
    Path("/etc/gai.conf").write_text(order if prefers_ipv4 else "")


@contextmanager
def _hosted(top: Path) -> Iterator[Mapping[str, str]]:
    """An edge with the hosted names, and what the suite is to know of it."""
    programs = top / "bin"
    programs.mkdir()
    (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "sudo").chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    _run("qanat", "service", "shim", "--to", str(programs), env=env)
    flags = {
        "data-dir": str(top / "edge"),
        "public-https": "[::]:443",
        "public-http": "[::]:80",
        "tunnel-address": "[::]:7844",
        "control-address": "127.0.0.1:7880",
        "control-hostname": "api.cloudflare.com",
        "control-quick-tunnels-zone": "trycloudflare.com",
    }
    argv = [*QANAT, "edge", "--output", "json", *(word for name, text in flags.items() for word in (f"--{name}", text))]
    edge = Process("edge", argv, {"QANAT_PROBES__ENABLED": "false"})
    ready: dict[str, Any] = json.loads(edge.wait_for(r"^\{.*ready.*\}$", stdout=True, timeout_s=60.0).string)
    token_file, ca = Path(ready["data_dir"]) / "first-token", top / "ca.pem"
    ca.write_bytes(Path(ready["ca"]).read_bytes())
    with Path("/etc/ssl/certs/ca-certificates.crt").open("ab") as system:
        system.write(ca.read_bytes())
    env |= {
        "TUNNEL_CACERT": str(ca),
        "SSL_CERT_FILE": str(ca),
        "REQUESTS_CA_BUNDLE": str(ca),
        "HOME": str(top / "home"),
    }
    (top / "home").mkdir()
    api = Api(ready["api"], token_file.read_text().strip())
    quick = api.create_tunnel("quick")
    api.publish(api.create_zone("trycloudflare.com"), "api.trycloudflare.com", quick.id)
    rule = {"service": "http://127.0.0.1:7880", "originRequest": {"httpHostHeader": "127.0.0.1:7880"}}
    api.put_configuration(quick.id, [rule])
    (top / "quick.token").write_text(quick.token)
    run = ["tunnel", "--edge", "127.0.0.1:7844", "--cacert", str(ca), "--metrics", "127.0.0.1:0", "run", "--token-file"]
    before_the_api = Process("quick", [*QANAT, *run, str(top / "quick.token")])
    _describe(top, api, token_file, programs / "cloudflared", env)
    try:
        before_the_api.wait_for("Registered tunnel connection", timeout_s=60.0)
        yield {**env, "COMPONENT_TESTS_CONFIG": str(top / "config.yaml")}
    finally:
        before_the_api.stop(timeout_s=20.0)
        api.close()
        edge.stop(timeout_s=60.0)


def _describe(top: Path, api: Api, token_file: Path, program: Path, env: Mapping[str, str]) -> None:
    """The suite's configuration, a cert.pem and a tunnel with its credentials."""
    tunnel = api.create_tunnel("component-tests")
    api.publish(api.create_zone("example.test"), "named.example.test", tunnel.id)
    certificate, credentials = top / "cert.pem", top / "credentials.json"
    made = ["qanat", "zone", "certificate", "example.test", "--file", str(certificate)]
    _run(*made, env={**env, "QANAT_API_TOKEN_FILE": str(token_file)})
    told = json.loads(base64.b64decode(tunnel.token))
    known = {"AccountTag": told["a"], "TunnelSecret": told["s"], "TunnelID": told["t"], "Endpoint": ""}
    credentials.write_text(json.dumps(known))
    configuration = {
        "cloudflared_binary": str(program),
        "tunnel": tunnel.id,
        "credentials_file": str(credentials),
        "origincert": str(certificate),
        "ingress": [{"hostname": "named.example.test", "service": "hello_world"}, {"service": "http_status:404"}],
    }
    (top / "config.yaml").write_text(json.dumps(configuration))


def _run(*argv: str, env: Mapping[str, str] | None = None) -> None:
    program = shutil.which(argv[0], path=(env or os.environ)["PATH"]) or argv[0]
    subprocess.run([program, *argv[1:]], env=env, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
