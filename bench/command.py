"""What every bench with a command of its own has: its switches, a machine that is quiet, and the document that it leaves."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.__main__ import RESULTS, quiet
from bench.machine import CpuTime, facts
from bench.processes import BenchError

Measured = tuple[dict[str, Any], int]
"""A document, and the code to end with."""


def switches(name: str, what: str | None, *, smoke: str) -> argparse.ArgumentParser:
    """Those of `python -m bench.NAME`, to which it adds its own; `smoke`: what `--smoke` makes of it."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=what)
    parser.add_argument("--smoke", action="store_true", help=f"{smoke}: does the harness work? Writes nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--anyway", action="store_true", help="measure although the machine is busy")
    return parser


def told(name: str, chosen: argparse.Namespace, measure: Callable[[], Measured], *, stock: str | None = None) -> int:
    """Measures, and writes results/NAME.json: the machine's facts, the seconds that it took, and what was found. The exit code:
    1 when the run is worth nothing, and the reason is on stderr."""
    try:
        if stock is not None and shutil.which(stock) is None:
            raise BenchError(f"QANAT_TEST_CLOUDFLARED names no program: {stock}")
        machine = {**facts(stock), "busy_before": quiet(chosen.anyway or chosen.smoke)}
        clock, began = CpuTime.now(), time.monotonic()
        document, code = measure()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    machine |= {"steal_share": CpuTime.now().steal_share(clock), "seconds": round(time.monotonic() - began)}
    if not chosen.smoke:
        chosen.out.mkdir(parents=True, exist_ok=True)
        whole = json.dumps({"machine": machine, **document}, indent=1, ensure_ascii=False)
        (chosen.out / f"{name}.json").write_text(whole + "\n")
    return code


def say(what: str) -> None:
    """On the way."""
    print(f"bench: {what} …", file=sys.stderr, flush=True)
