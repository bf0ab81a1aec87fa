"""Two edges that want the same: addresses, a data directory, to replace the same process. One serves, the other says why not."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.test_edge_upgrade import Command, Upgraded
from tests.support.edge import ADDRESSES
from tests.support.processes import QANAT, Process


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The edge that was there first."""
    edge = Upgraded(tmp_path_factory.mktemp("contested") / "edge")
    try:
        yield edge
        edge.stop()
    finally:
        edge.process.kill()


def refused(folder: Path, **addresses: str) -> str:
    """Why an edge with these addresses does not start; the others are the system's to give."""
    given = {**dict.fromkeys(ADDRESSES, "127.0.0.1:0"), **addresses}
    argv = [*QANAT, "edge", "--output", "json", "--data-dir", str(folder)]
    argv += [part for name, address in given.items() for part in (f"--{name}", address)]
    process = Process("other edge", argv, forked=True)
    assert process.wait() == 1, process.log()
    assert not process.out
    return process.log()


def is_served(edge: Upgraded) -> bool:
    with edge.plain("nobody.example.test") as client:
        return client.get("/").status == 404 and bool(edge.api.call("GET", "/accounts"))


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_that_another_edge_has_is_named_and_that_one_serves_on(
    first: Upgraded, folder: Path, name: str
) -> None:
    taken = {
        "public-https": first.https,
        "public-http": first.http,
        "tunnel-address": first.tunnel,
        "control-address": re.sub(r"^http://([^/]+)/.*", r"\1", str(first.ready["api"])),
    }[name]
    said = refused(folder / "other", **{name: taken})
    assert re.search(rf"can't listen on {re.escape(taken)}: (UDP: )?Address already in use", said)
    assert is_served(first)


def test_a_udp_port_that_is_anothers_is_named_too(folder: Path) -> None:
    """TCP is free there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        assert f"can't listen on {taken}: UDP: Address already in use" in refused(
            folder / "other", **{"tunnel-address": taken}
        )


def test_a_second_edge_on_a_data_directory_is_refused(first: Upgraded) -> None:
    assert f"another edge runs on {first.data_dir}" in refused(first.data_dir)
    assert is_served(first)


def test_of_two_upgrades_at_once_one_is_made_and_the_other_told(first: Upgraded) -> None:
    both = [Command(first, "upgrade") for _ in range(2)]
    ends = [each.ended() for each in both]
    done = [answer for code, answer, _ in ends if code == 0]
    assert done, ends
    for code, _, said in ends:
        assert code == 0 or "an upgrade is under way" in said or "handed over already" in said, said
    first.wait_in_charge(done[-1]["pid"])
    assert is_served(first)
