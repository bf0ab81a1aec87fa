"""Management commands, ours beside a stock cloudflared's: same command line, same API, same output and exit code.

`QANAT_TEST_CLOUDFLARED` names the binary.
"""

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qanat.cli.stock.certificate import with_api
from qanat.cli.stock.main import main
from tests.support.connector import STOCK
from tests.support.control import Control, running_control
from tests.support.fixtures import NO_STOCK
from tests.support.processes import clean_environment

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]

ZONE = "a.example"
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 UTC)")
SECRET = re.compile(r"[A-Za-z0-9+/=]{40,}")


class Both:
    """One user of a stock cloudflared and one of ours, each with a folder and a cert.pem, on one API."""

    def __init__(self, control: Control, folder: Path) -> None:
        self.control = control
        zone = control.create_zone(ZONE)
        certificate = control.call("POST", f"/qanat/zones/{zone['id']}/origin-certificate", {})
        self.homes = {"stock": folder / "stock", "ours": folder / "ours"}
        for home in self.homes.values():
            (home / ".cloudflared").mkdir(parents=True)
            text = with_api(certificate["certificate"], "https://nobody.invalid/client/v4")  # stock passes over it
            (home / ".cloudflared" / "cert.pem").write_text(text)

    def _environment(self, who: str, extra: dict[str, str]) -> dict[str, str]:
        home = str(self.homes[who])
        return {**clean_environment(), "HOME": home, "TUNNEL_API_URL": self.control.url, "TZ": "UTC", **extra}

    def stock(self, arguments: list[str], **extra: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        assert STOCK
        done = subprocess.run(
            [STOCK, *arguments],
            env=self._environment("stock", extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30.0,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def ours(self, arguments: list[str], **extra: str) -> tuple[int, str, str]:
        """The same of ours, in this process: `test_a_command_in_a_process_of_its_own` runs one by itself."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ:
                patch.delenv(name)
            for name, value in self._environment("ours", extra).items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(arguments, called="cloudflared")
        assert code is not None, arguments
        return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("commands")
    with running_control(folder) as control:
        yield Both(control, folder)


def alike(text: str) -> str:
    """Without what differs from run to run: ids, times, homes."""
    text = re.sub(r"\S+/(stock|ours)/\.cloudflared", "HOME", text)
    return TIME.sub("TIME", ID.sub("ID", text))


def logged(text: str) -> list[str]:
    """What a command logged, without the times."""
    return [line.split(" ", 1)[1] for line in alike(text).splitlines() if line.startswith("TIME ")]


def reason(text: str) -> str:
    """What a refused command said first, less what Go's own libraries add to it."""
    lines = [line for line in alike(text).splitlines() if line.strip() and not line.startswith("TIME ")]
    return re.split(r': REST request failed: Get "| at input byte', lines[-1] if "pem" in text else lines[0])[0]


SAME: list[list[str]] = [
    ["tunnel", "create", "one"],
    ["tunnel", "create", "--output", "json", "two"],
    ["tunnel", "create", "-o", "yaml", "three"],
    ["tunnel", "list"],
    ["tunnel", "list", "-o", "json"],
    ["tunnel", "list", "--output=yaml"],
    ["tunnel", "list", "--name", "one", "--output", "json"],
    ["tunnel", "list", "-n", "nobody"],
    ["tunnel", "list", "-np", "t", "-enp", "th"],
    ["tunnel", "list", "--sort-by", "createdAt", "--invert-sort"],
    ["tunnel", "info", "one"],
    ["tunnel", "info", "-o", "json", "one"],
    ["tunnel", "info", "-o", "yaml", "one"],
    ["tunnel", "token", "one"],
    ["tunnel", "cleanup", "one", "two"],
    ["tunnel", "route", "dns", "one", "app"],
    ["tunnel", "route", "dns", "one", "app"],
    ["tunnel", "route", "dns", "--overwrite-dns", "two", "app.a.example"],
    ["tunnel", "vnet", "add", "office", "second floor"],
    ["tunnel", "vnet", "list"],
    ["tunnel", "vnet", "list", "--name", "office", "-o", "json"],
    ["tunnel", "vnet", "list", "--name", "office", "-o", "yaml"],
    ["tunnel", "vnet", "list", "--is-default=false"],
    ["tunnel", "vnet", "list", "--name", "none"],
    ["tunnel", "vnet", "update", "--comment", "third floor", "office"],
    ["tunnel", "route", "ip", "show"],
    ["tunnel", "route", "ip", "add", "10.9.1.1/16", "one", "a comment"],
    ["tunnel", "route", "ip", "add", "--vnet", "office", "10.9.0.0/16", "two"],
    ["tunnel", "route", "ip", "show"],
    ["tunnel", "route", "ip", "list", "-o", "json"],
    ["tunnel", "route", "ip", "show", "--output", "yaml"],
    ["tunnel", "route", "ip", "show", "--filter-network-is-superset-of", "10.9.0.0/16"],
    ["tunnel", "route", "ip", "show", "--filter-comment-is", "a comment"],
    ["tunnel", "route", "ip", "get", "10.9.3.4"],
    ["tunnel", "route", "ip", "get", "--vnet", "office", "10.9.3.4"],
    ["tunnel", "route", "ip", "get", "192.0.2.1"],
    ["tunnel", "route", "ip", "delete", "--vnet", "office", "10.9.0.0/16"],
    ["tunnel", "route", "ip", "delete", "10.9.0.0/16"],
    ["tunnel", "vnet", "delete", "office"],
    ["tunnel", "delete", "two", "three"],
    ["tunnel", "delete", "-f", "one"],
]
"""One story, told twice."""

REFUSED: list[list[str]] = [
    ["tunnel", "create"],
    ["tunnel", "create", "a", "b"],
    ["tunnel", "create", "01234567-89ab-cdef-0123-456789abcdef"],
    ["tunnel", "create", "--secret", "short", "s"],
    ["tunnel", "create", "--secret", "c2hvcnQ=", "s"],
    ["tunnel", "list", "--id", "x"],
    ["tunnel", "list", "-o", "xml"],
    ["tunnel", "info"],
    ["tunnel", "info", "nobody"],
    ["tunnel", "info", "01234567-89ab-cdef-0123-456789abcdef"],
    ["tunnel", "delete"],
    ["tunnel", "delete", "nobody"],
    ["tunnel", "delete", "01234567-89ab-cdef-0123-456789abcdef"],
    ["tunnel", "cleanup"],
    ["tunnel", "cleanup", "nobody"],
    ["tunnel", "token"],
    ["tunnel", "token", "nobody"],
    ["tunnel", "route", "dns", "nobody"],
    ["tunnel", "route", "dns", "nobody", "app"],
    ["tunnel", "route", "dns", "01234567-89ab-cdef-0123-456789abcdef", "a b"],
    ["tunnel", "route", "lb", "nobody", "x"],
    ["tunnel", "route", "ip", "add", "10.0.0.0/8"],
    ["tunnel", "route", "ip", "add", "10.0.0.0", "nobody"],
    ["tunnel", "route", "ip", "add", "10.0.0.0/8", "nobody"],
    ["tunnel", "route", "ip", "delete", "10.99.0.0/16"],
    ["tunnel", "route", "ip", "delete", "nothing"],
    ["tunnel", "route", "ip", "get"],
    ["tunnel", "route", "ip", "get", "nothing"],
    ["tunnel", "route", "ip", "show", "--filter-tunnel-id", "x"],
    ["tunnel", "vnet", "add"],
    ["tunnel", "vnet", "delete", "nobody"],
    ["tunnel", "vnet", "update"],
    ["tunnel", "vnet", "list", "--id", "x"],
    ["tunnel", "--origincert", "/nowhere/cert.pem", "list"],
    ["tunnel", "--api-url", "http://127.0.0.1:1/client/v4", "list"],
    ["tunnel", "ingress", "validate"],
    ["tunnel", "ingress", "rule"],
    ["tunnel", "ingress", "rule", "nohost"],
]


def test_one_story_told_twice(both: Both) -> None:
    """Stock tells it first and deletes what it made; then ours, from the same start."""
    told: dict[str, list[tuple[int, str, str]]] = {}
    for who in ("stock", "ours"):
        run = both.stock if who == "stock" else both.ours
        told[who] = [run(arguments) for arguments in SAME]
        for row in both.control.call("GET", f"/zones/{both.control.call('GET', '/zones')[0]['id']}/dns_records"):
            both.control.call("DELETE", f"/zones/{row['zone_id']}/dns_records/{row['id']}")
    for arguments, stock, ours in zip(SAME, told["stock"], told["ours"], strict=True):
        assert (ours[0], shown(ours[1])) == (stock[0], shown(stock[1])), arguments
        assert logged(ours[2]) == logged(stock[2]), arguments
        assert stock[0] == 0, stock


@pytest.mark.parametrize("arguments", [[], ["--hostname", "ssh.example.test"], ["--short-lived-cert"]], ids=" ".join)
def test_what_ssh_needs_is_said_alike(arguments: list[str], both: Both) -> None:
    code, out, _ = both.stock(["access", "ssh-config", *arguments])
    our_code, our_out, _ = both.ours(["access", "ssh-config", *arguments])
    assert (our_code, re.sub(r"(/home/\S*|HOME|/tmp/\S+?)/(stock|ours)/", "", our_out).replace("ours", "stock")) == (
        code,
        re.sub(r"(/home/\S*|HOME|/tmp/\S+?)/(stock|ours)/", "", out).replace(str(STOCK), "cloudflared"),
    )


def shown(text: str) -> list[str]:
    """Lines in no order: the API's own is none for virtual networks."""
    return sorted(alike(SECRET.sub("SECRET", text)).splitlines())


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_what_is_refused_is_refused_alike(arguments: list[str], both: Both) -> None:
    code, _, err = both.stock(arguments)
    our_code, _, our_err = both.ours(arguments)
    assert our_code == code != 0
    assert reason(err) in alike(our_err)
