"""Kept inputs of the fuzz targets in Python (crates/fuzz replays those in Rust)."""

from pathlib import Path

import pytest

from fuzz.parsers import TARGETS

CORPORA = Path(__file__).parents[2] / "fuzz" / "corpus"
INPUTS = [(name, file) for name in TARGETS for file in sorted((CORPORA / name).iterdir())]


@pytest.mark.parametrize(("name", "file"), INPUTS, ids=[f"{name}-{file.name}" for name, file in INPUTS])
def test_every_kept_input_passes_its_target(name: str, file: Path) -> None:
    TARGETS[name](file.read_bytes())
