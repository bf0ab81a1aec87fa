"""What tests/vectors/ingress.json says of the stock connector is true of the binary: which configurations it takes, and which
rule a URL gets. Each of its processes answers one question."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.connector import STOCK
from tests.support.fixtures import NO_STOCK
from tests.support.processes import clean_environment
from tests.unit.ingress.test_stock_verdicts import VECTORS

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]


def ask(file: Path, *arguments: str) -> str:
    assert STOCK
    command = [STOCK, "tunnel", "--config", str(file), "ingress", *arguments]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def verdict(file: Path, vector: dict[str, Any]) -> dict[str, Any]:
    file.write_text(vector["config"], encoding="utf-8")
    is_valid = "OK" in ask(file, "validate").splitlines()
    found = {url: re.search(r"Matched rule #(\d+)", ask(file, "rule", url)) for url in vector.get("matches", {})}
    return {"valid": is_valid, "matches": {url: int(match[1]) if match else None for url, match in found.items()}}


def test_the_vectors_are_what_the_stock_connector_says(tmp_path: Path) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        files = [tmp_path / f"{number}.yml" for number in range(len(VECTORS))]
        said = list(pool.map(verdict, files, VECTORS))
    wrong = {
        vector["name"]: one
        for vector, one in zip(VECTORS, said, strict=True)
        if one != {"valid": vector["valid"], "matches": vector.get("matches", {})}
    }
    assert not wrong
