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


@pytest.mark.parametrize("hostname", STOCK_FOLDS)
def test_stock_matches_the_hostnames_that_no_warning_is_given_for(tmp_path: Path, hostname: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(f"ingress:\n- {{hostname: '{hostname}', service: 'http_status:418'}}\n- service: http_status:404\n")
    asked = hostname.lower().removesuffix(".").replace("*", "x")
    said = stock("tunnel", "--config", str(file), "ingress", "rule", f"https://{asked}/")
    assert ("Matched rule #0" in said) is STOCK_FOLDS[hostname], said
