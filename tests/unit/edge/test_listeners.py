"""Sockets by role: systemd's by their names or addresses, a process's before this one as long as the settings ask for them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qanat.edge.listeners import API, METRICS, Listeners, of_systemd, still_asked
from qanat.settings import EdgeSettings
from qanat.systemd import given_sockets


def tcp() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def address(of: socket.socket) -> str:
    host, port = of.getsockname()[:2]
    return f"{host}:{port}"


def settings(**more: object) -> EdgeSettings:
    public = {"https": "127.0.0.1:0", "http": None}
    return EdgeSettings.model_validate({"public": public, "control": {"address": "127.0.0.1:0"}, **more})


def test_what_the_settings_still_ask_for_is_taken_and_anything_else_is_closed() -> None:
    api, metrics = tcp(), tcp()
    given = {API: api, METRICS: metrics}
    asked = settings(control={"address": address(api)})
    listeners = Listeners.open(asked, given)
    assert listeners.api is api
    assert listeners.metrics is None
    assert list(given) == [METRICS], "what nobody takes stays with the caller"
    metrics.close()
    moved = Listeners.open(settings(control={"address": "127.0.0.1:0"}, metrics={"address": "127.0.0.1:0"}), {API: api})
    assert moved.api is api, "any free port is what it has"
    assert moved.metrics is not None
    moved.close()
    other = tcp()
    taken = Listeners.open(settings(control={"address": "127.0.0.2:0"}), {API: other})
    assert taken.api is not other
    assert other.fileno() == -1
    taken.close()


def test_a_socket_that_is_elsewhere_than_the_settings_say_now_is_not_served_on() -> None:
    https, http, tunnel = tcp(), tcp(), tcp()
    ours, theirs = socket.socketpair()
    given = {"https": https, "http": http, "tunnel_udp": tunnel, "tunnel_udp/packets/0": ours, API: theirs}
    asked = settings(public={"https": address(https), "http": None}, tunnel={"address": "127.0.0.2:0"})
    assert list(still_asked(asked, given)) == ["https", API]
    assert {http.fileno(), tunnel.fileno(), ours.fileno()} == {-1}
    for each in (https, theirs):
        each.close()


def test_a_socket_of_systemds_has_its_name_or_its_kind_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    tunnel, named, strange = tcp(), tcp(), tcp()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(tunnel.getsockname())
    asked = settings(tunnel={"address": address(tunnel)})
    given = [("", tunnel), ("", udp), ("https", named), ("qanat-edge.socket", strange)]
    monkeypatch.setattr("qanat.edge.listeners.given_sockets", lambda _environment: given)
    assert of_systemd(asked, {}) == {"tunnel_tcp": tunnel, "tunnel_udp": udp, "https": named}
    assert strange.fileno() == -1
    for each in (tunnel, udp, named):
        each.close()


GIVEN = """
import os
from qanat.systemd import given_sockets
os.environ["LISTEN_PID"] = str(os.getpid() if {ours} else 1)
print([(name, each.getsockname()[1], each.get_inheritable()) for name, each in given_sockets(os.environ)],
      any(name.startswith("LISTEN_") for name in os.environ))
"""


@pytest.mark.parametrize("ours", [True, False])
def test_the_sockets_are_those_from_the_third_descriptor_on_if_they_are_for_this_process(ours: bool) -> None:
    listener = tcp()
    port = listener.getsockname()[1]

    def put() -> None:
        os.dup2(listener.fileno(), 3)

    done = subprocess.run(
        [sys.executable, "-c", GIVEN.format(ours=ours)],
        env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "https"},
        pass_fds=(3,),
        preexec_fn=put,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == f"{[('https', port, False)] if ours else []} False"
    listener.close()


@pytest.mark.parametrize("given", [{}, {"LISTEN_PID": "x", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid())}])
def test_without_sockets_of_systemds_there_are_none(given: dict[str, str]) -> None:
    assert given_sockets(given) == []
    assert given == {}


def test_the_units_sockets_are_those_of_an_edges_settings() -> None:
    unit = (Path(__file__).parents[3] / "deploy/systemd/qanat-edge.socket").read_text()
    streams = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ListenStream=")]
    datagrams = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ListenDatagram=")]
    default = EdgeSettings()
    assert datagrams == ["0.0.0.0:443", default.tunnel.address]
    assert streams == ["0.0.0.0:443", "0.0.0.0:80", default.tunnel.address, default.control.address]
