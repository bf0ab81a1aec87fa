import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import MsgspecError, Struct, ValidationError

from qanat import structs

RACE = """
import gc, sys, threading
from msgspec import defstruct
from qanat import structs

sys.setswitchinterval(1e-6)
gc.set_threshold(20, 2, 2)
for number in range(60):
    inner = defstruct("Inner", [(f"f{i}", dict[str, list[int | None]] | None, None) for i in range(6)])
    outer = defstruct("Outer", [(f"g{i}", list[inner], []) for i in range(6)])
    barrier = threading.Barrier(6)

    def read():
        barrier.wait()
        if number % 2:
            assert structs.convert({"g0": [{"f0": {"a": [1]}}]}, outer).g0[0].f0 == {"a": [1]}
        else:
            assert structs.decode(b'{"g0":[{"f0":{"a":[1]}}]}', outer).g0[0].f0 == {"a": [1]}

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


class Point(Struct):
    x: int


def test_threads_may_read_a_type_for_the_first_time_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RACE], cwd=Path(__file__).parent.parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_what_does_not_fit_is_msgspecs_error() -> None:
    assert structs.decode(b'{"x":1}', Point) == structs.convert({"x": 1}, Point) == Point(1)
    with pytest.raises(ValidationError, match=r"`\$\.x`"):
        structs.convert({"x": "1"}, Point)
    with pytest.raises(MsgspecError):
        structs.decode(b'{"x":', Point)
