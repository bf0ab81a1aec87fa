"""Runs one target of `parsers.py` with atheris: `atheris_targets.py TARGET [options of libFuzzer] [corpora]`."""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
with atheris.instrument_imports(include=["qanat"]):
    from fuzz.parsers import TARGETS

target = TARGETS[sys.argv.pop(1)]
atheris.Setup(sys.argv, target)
atheris.Fuzz()
