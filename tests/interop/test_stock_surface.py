"""What our connector says of a stock one is true of the binary: its flags, and which hostnames it matches."""

import re
import subprocess
from pathlib import Path

import pytest

from qanat.connector.flag_table import FLAGS
from tests.support.connector import STOCK
from tests.support.fixtures import NO_STOCK
from tests.support.processes import clean_environment
from tests.unit.ingress.test_rules import STOCK_FOLDS

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]


def stock(*arguments: str) -> str:
    assert STOCK
    done = subprocess.run(
        [STOCK, *arguments], env=clean_environment(), capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", [["tunnel"], ["tunnel", "run"]], ids=" ".join)
def test_every_flag_that_stock_lists_is_one_of_ours(command: list[str]) -> None:
    listed = set(
        re.findall(
            r"(?:^|[ ,])--?([a-z0-9][a-z0-9-]*|[A-Za-z])(?= value|,|  )", stock(*command, "--help"), re.MULTILINE
        )
    )
    ours = {name for flag in FLAGS for name in (flag.name, *flag.aliases)} | {"help", "h"}
    assert len(listed) > 20
    assert listed - ours == set()


@pytest.mark.parametrize("command", [["tunnel"], ["tunnel", "run"]], ids=" ".join)
def test_every_variable_that_stock_lists_is_read_in_its_order(command: list[str]) -> None:
    listed = re.findall(r"^ +--([a-z0-9-]+).* \[((?:\$[A-Z0-9_]+(?:, )?)+)\]$", stock(*command, "--help"), re.MULTILINE)
    assert len(listed) > 20
    ours = {flag.name: flag.env for flag in FLAGS}
    assert {name: tuple(text.replace("$", "").split(", ")) for name, text in listed} == {
        name: ours[name] for name, _ in listed
    }


OURS = ("allow-origins", "congestion", "edge-resolver", "follow-role", "role-probe", "role-probe-interval")
VALUES = {"text": "x", "path": "x", "texts": "x", "tags": "a=b", "count": "1", "duration": "1s"}


AFTER_RUN = (
    *("token", "token-file", "credentials-contents", "features", "max-active-flows", "dns-resolver-addrs"),
    *("icmpv4-src", "icmpv6-src"),
)
"""Those that `tunnel run` alone has; the others are `tunnel`'s, too."""


@pytest.mark.parametrize("form", [0, -1], ids=["name", "alias"])
def test_every_flag_of_ours_is_one_of_stocks_hidden_ones_too_and_takes_what_stock_takes(form: int) -> None:
    before: list[str] = []
    after: list[str] = []
    for flag in FLAGS:
        if flag.name not in OURS:
            name = (flag.name, *flag.aliases)[form]
            given = after if flag.name in AFTER_RUN else before
            given += [f"-{name}", *([] if flag.kind == "bool" else [VALUES[flag.kind]])]
    said = stock("tunnel", *before, "run", *after, "--help")
    assert "SUBCOMMAND OPTIONS" in said, said[:200]
    assert "flag provided but not defined: -no-such" in stock("tunnel", *before, "-no-such", "run", "--help")


@pytest.mark.parametrize("kind", ["count", "duration", "bool"])
def test_a_value_that_is_none_is_none_for_stock_too(kind: str) -> None:
    for flag in [flag for flag in FLAGS if flag.kind == kind and flag.name not in (*OURS, *AFTER_RUN)][::4]:
        assert "Incorrect Usage" in stock("tunnel", f"--{flag.name}=x", "run", "--help"), flag.name


@pytest.mark.parametrize("hostname", STOCK_FOLDS)
def test_stock_matches_the_hostnames_that_no_warning_is_given_for(tmp_path: Path, hostname: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(f"ingress:\n- {{hostname: '{hostname}', service: 'http_status:418'}}\n- service: http_status:404\n")
    asked = hostname.lower().removesuffix(".").replace("*", "x")
    said = stock("tunnel", "--config", str(file), "ingress", "rule", f"https://{asked}/")
    assert ("Matched rule #0" in said) is STOCK_FOLDS[hostname], said
