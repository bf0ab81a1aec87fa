import resource
import subprocess
import sys

import pytest

from qanat.descriptors import Shares, raise_limit


@pytest.mark.parametrize("limit", [256, 1024, 4096, 65_536, 1 << 20])
def test_the_shares_together_leave_some(limit: int) -> None:
    shares = Shares.of(limit)
    assert min(shares.public, shares.tunnels, shares.unregistered, shares.api) >= 8
    assert shares.public + shares.tunnels + shares.api < limit


def test_a_process_takes_what_it_may_have() -> None:
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 2048)
    program = (
        "import resource; from qanat.descriptors import raise_limit;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}));"
        "print(raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(hard)] * 3


def test_what_the_system_does_not_give_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_limit() == 300
