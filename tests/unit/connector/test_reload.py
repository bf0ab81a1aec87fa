"""What a change of the file does to the rules in force: case 80, without a process."""

import io
import json
from pathlib import Path
from typing import Any, cast

import pytest

from qanat.connector.configuration import CurrentConfiguration
from qanat.connector.engine import ConfigurationPushed, Connector
from qanat.connector.flags import read_command_line
from qanat.connector.log import Log
from qanat.connector.options import local_configuration
from qanat.connector.reload import KEPT, Reload
from qanat.connector.sources import Sources, gather
from tests.process.test_cases_tokens import TOKEN

RULES = "ingress:\n- {{hostname: {0}.test, service: 'http://127.0.0.1:{1}'}}\n- service: http_status:404\n"


class Engine:
    def __init__(self) -> None:
        self.tables = 0
        self.told: list[dict[str, Any]] = []

    def swap_ingress(self, table: object) -> None:
        self.tables += 1

    def send_local_configuration(self, document: bytes) -> None:
        self.told.append(json.loads(document))

    def answer_configuration(self, *, push_id: int, version: int, error: str = "") -> None:
        pass


class Push:
    def __init__(self, configuration: bytes) -> None:
        self.push_id, self.version, self.configuration = 1, 3, configuration


class World:
    def __init__(self, file: Path, *flags: str) -> None:
        self.file = file
        self.lines = io.StringIO()
        self.engine = Engine()
        log = Log(stream=self.lines, level="info")
        connector = cast(Connector, self.engine)
        self.configuration = CurrentConfiguration(connector, log)

        def read() -> Sources:
            return gather(
                read_command_line(["tunnel", "run", "--config", str(file), "--token", TOKEN, "--edge", "h:1", *flags]),
                {},
            )

        sources = read()
        self.configuration.start(local_configuration(sources, [])[0])
        self.reload = Reload(read, sources, configuration=self.configuration, connector=connector, log=log)

    @property
    def services(self) -> list[str]:
        return [rule["service"] for rule in json.loads(self.configuration.as_json())["config"]["ingress"]]

    def is_refused(self) -> bool:
        return self.reload.refused

    def read(self, text: str, *, asked: bool = False) -> str:
        """Changes the file; what is logged then."""
        self.file.write_text(text)
        before = self.lines.tell()
        self.reload.read(asked=asked)
        return self.lines.getvalue()[before:]


@pytest.fixture
def world(tmp_path: Path) -> World:
    file = tmp_path / "config.yml"
    file.write_text(RULES.format("a", 1))
    return World(file)


@pytest.mark.case(80)
def test_new_rules_are_in_force_and_told_to_the_edge(world: World) -> None:
    said = world.read(RULES.format("b", 2))
    assert "INF Reloaded the configuration file" in said
    assert world.services == ["http://127.0.0.1:2", "http_status:404"]
    assert [rule["service"] for rule in world.engine.told[-1]["ingress"]] == world.services
    assert (world.reload.applied, world.reload.refused) == (1, False)


@pytest.mark.case(80)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RULES.format("b", 2)[:45], "in line 2"),
        ("ingress:\n- {hostname: b.test, service: 'http://127.0.0.1:2'}\n", ":2: ingress[0]: the last rule"),
        ("ingress:\n- service: http_status:404\n\nprotocol: [1]\n", ":4: protocol: "),
        (
            "ingress:\n- service: http://h\n  originRequest:\n    caPool: /nonexistent\n",
            ":4: ingress[0].originRequest.caPool",
        ),
        ("grace-period: soon\n", ":1: grace-period: 'soon'"),
        ("retries: 3\nprotocol: tcp\n", ":2: protocol: 'tcp'"),
        ("tunnel: a\ntunnel: b\n", "in line 1 and in line 2"),
    ],
)
def test_a_file_that_is_not_sound_leaves_what_is_in_force_and_is_told_with_its_line(
    world: World, text: str, said: str
) -> None:
    tables = world.engine.tables
    logged = world.read(text)
    assert f"ERR {KEPT}" in logged
    assert said in logged
    assert str(world.file) in logged
    assert (world.engine.tables, world.services[0]) == (tables, "http://127.0.0.1:1")
    assert world.is_refused() is True
    world.read(RULES.format("a", 1))
    assert world.is_refused() is False
    world.read(RULES.format("b", 2))
    assert world.services[0] == "http://127.0.0.1:2"


def test_a_file_that_is_gone_leaves_what_is_in_force(world: World) -> None:
    world.file.unlink()
    world.reload.read()
    assert KEPT in world.lines.getvalue()
    assert world.services[0] == "http://127.0.0.1:1"


def test_nothing_is_swapped_where_nothing_changed_unless_somebody_asks(world: World) -> None:
    tables = world.engine.tables
    assert world.read(RULES.format("a", 1)) == ""
    assert world.engine.tables == tables
    assert "Reloaded" in world.read(RULES.format("a", 1), asked=True)
    assert world.engine.tables == tables + 1


def test_a_pushed_configuration_stays_in_force_and_the_log_says_so(world: World) -> None:
    document = b'{"ingress": [{"service": "http_status:418"}]}'
    world.configuration.apply(cast(ConfigurationPushed, Push(document)))
    said = world.read(RULES.format("b", 2))
    assert "WRN The configuration file changed, and its ingress rules are not in force" in said
    assert world.services == ["http_status:418"]


def test_what_counts_from_the_next_start_on_is_named(world: World) -> None:
    said = world.read("protocol: http2\nretries: 2\ntunnel: x\n" + RULES.format("b", 2))
    assert (
        "protocol, retries, tunnel have changed in the configuration file: that counts from the next start on" in said
    )
    assert world.services[0] == "http://127.0.0.1:2"
    assert "next start" not in world.read("protocol: http2\nretries: 2\ntunnel: x\n" + RULES.format("c", 3))


def test_the_single_origin_of_a_file_is_replaced_as_well(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("url: http://127.0.0.1:1\n")
    world = World(file)
    said = world.read("url: http://127.0.0.1:2\nno-tls-verify: true\n")
    assert world.services == ["http://127.0.0.1:2"]
    assert "next start" not in said
    file.write_text("url: http://127.0.0.1:3\n")
    other = World(file, "--url", "http://127.0.0.1:9")
    other.read("url: http://127.0.0.1:4\n")
    assert other.services == ["http://127.0.0.1:9"]
