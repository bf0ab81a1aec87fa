"""cases.md 80: the file of a locally managed tunnel changes while a WebSocket and requests are under way."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qanat.connector.reload import KEPT
from tests.support.connector import Connector
from tests.support.origin import Origin
from tests.support.sites import Fakes, Link
from tests.support.waiting import wait_until
from tests.support.websocket import echo, over_http1

RELOADED = "INF Reloaded the configuration file"


@pytest.fixture
def origin() -> Iterator[Origin]:
    origin = Origin()
    origin.on("/ws", echo)
    yield origin
    origin.close()


class Local:
    """A connector of a locally managed tunnel, its file, and a rule for a status code as a mark of what is in force."""

    def __init__(self, fakes: Fakes, folder: Path, link: Link, origin: Origin) -> None:
        self.fakes = fakes
        self.tunnel, self.hostname = fakes.tunnel(config_src="local")
        self.file = folder / "config.yml"
        self.first = {"hostname": self.hostname, "path": "^/(ws|go)", "service": origin.service}
        self.write(self.text(201))
        flags = ("--config", str(self.file))
        self.connector = Connector(folder / "c", fakes.edge, self.tunnel.token, protocol=link.protocol, flags=flags)
        self.wait_for(201)

    def text(self, status: int, *, first: bool = True) -> str:
        rules: list[dict[str, Any]] = [self.first] if first else []
        return json.dumps({"ingress": [*rules, {"service": f"http_status:{status}"}]}, indent=1)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def replace(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def wait_for(self, status: int) -> None:
        wait_until(lambda: self.fakes.lab.status(self.hostname) == status, f"{status} from the rules in force")


@pytest.mark.case(80)
def test_a_file_that_changes_costs_no_websocket_and_no_request(
    fakes: Fakes, folder: Path, link: Link, origin: Origin
) -> None:
    local = Local(fakes, folder, link, origin)
    log = local.connector.process
    over = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        with fakes.edge.h1(local.hostname) as client:
            while not over.is_set():
                answers.append(client.get("/go").status)

    with fakes.edge.h1(local.hostname) as client:
        socket = over_http1(client)
        thread = threading.Thread(target=ask)
        thread.start()

        local.write(local.text(202))  # in place, and a signal
        log.signal(signal.SIGHUP)
        local.wait_for(202)
        local.replace(local.text(203))  # as an editor does
        local.wait_for(203)
        for broken, said in (
            (local.text(204)[:60], "not valid YAML"),
            (json.dumps({"ingress": [{**local.first}]}, indent=1), f"{local.file}:3: ingress[0]: "),
        ):
            seen = len(log.lines)
            local.write(broken)
            assert said in log.wait_for(KEPT, after=seen).string
            assert local.connector.metric("qanat_configuration_file_refused") == 1
        for number in range(100):  # the last one wins
            local.replace(local.text(300 + number))
        local.wait_for(399)
        assert local.connector.metric("qanat_configuration_file_refused") == 0
        assert local.connector.metric("qanat_configuration_file_reloads_total") >= 3
        over.set()
        thread.join()
        socket.text("still here")
        assert socket.message() == "still here"

        local.replace(local.text(404, first=False))
        local.wait_for(404)
        with fakes.edge.h1(local.hostname) as other:
            assert other.get("/go").status == 404
        socket.text("and now")
        assert socket.message() == "and now"
        socket.close()
    assert len(answers) > 5
    assert set(answers) == {200}
    wait_until(lambda: not origin.open_connections, "no connection to an origin that is named no more")
    told = local.connector.local("/config").json()["config"]["ingress"]
    assert [rule["service"] for rule in told] == ["http_status:404"]
    assert local.connector.version == -1
    assert " PANIC" not in log.log()
    local.connector.stop()


@pytest.mark.case(80)
def test_a_pushed_configuration_outlives_a_change_of_the_file(
    fakes: Fakes, folder: Path, link: Link, origin: Origin
) -> None:
    tunnel, hostname = fakes.tunnel()
    fakes.edge.api.put_configuration(tunnel.id, [{"service": "http_status:418"}])
    file = folder / "config.yml"
    file.write_text("ingress: [{service: 'http_status:201'}]\n")
    connector = Connector(folder / "c", fakes.edge, tunnel.token, protocol=link.protocol, flags=("--config", str(file)))
    connector.wait_version(1)
    file.write_text("ingress: [{service: 'http_status:202'}]\n")
    connector.process.wait_for("not in force: this tunnel is remotely managed")
    assert fakes.lab.status(hostname) == 418
    connector.stop()


def test_tags_reach_the_origin_spelt_as_stock_spells_them(fakes: Fakes, folder: Path, link: Link) -> None:
    origin = Origin()
    tunnel, hostname = fakes.tunnel(config_src="local")
    flags = ("--url", origin.service, "--tag", "team=a, b", "--tag", "zone-id=7")
    connector = Connector(folder / "c", fakes.edge, tunnel.token, protocol=link.protocol, flags=flags)
    wait_until(lambda: fakes.lab.status(hostname) == 200, "the origin")
    for line in (b"Cf-Warp-Tag-Id: ", b"Cf-Warp-Tag-Team: a, b\r\n", b"Cf-Warp-Tag-Zone-Id: 7\r\n"):
        assert line in origin.raw
    assert origin.last.value("cf-warp-tag-id") == connector.connector_id
    connector.stop()
    origin.close()
