"""A pushed configuration is applied or refused, and answered either way (protocol.md, cases.md 51)."""

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qanat.connector.configuration import CurrentConfiguration, local_document
from qanat.connector.engine import ConfigurationPushed, Connector
from qanat.connector.log import Log
from qanat.ingress.rules import parse_configuration, with_flows

pytestmark = pytest.mark.case(51)

GOOD = b'{"ingress":[{"hostname":"a.example.com","service":"http://127.0.0.1:1"},{"service":"http_status:404"}]}'


class Recorder:
    """Stands where the engine's Connector stands; keeps what it is told."""

    def __init__(self) -> None:
        self.tables: list[Any] = []
        self.answers: list[tuple[int, int, str]] = []

    def swap_ingress(self, table: Any) -> None:
        self.tables.append(table)

    def answer_configuration(self, *, push_id: int, version: int, error: str = "") -> None:
        self.answers.append((push_id, version, error))


def push(version: int, document: bytes, push_id: int = 1) -> ConfigurationPushed:
    value = SimpleNamespace(push_id=push_id, connection_index=0, version=version, configuration=document)
    return cast(ConfigurationPushed, value)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def current(recorder: Recorder, stream: io.StringIO) -> CurrentConfiguration:
    return CurrentConfiguration(cast(Connector, recorder), Log(level="debug", stream=stream))


def test_a_sound_push_is_swapped_in_and_answered(
    current: CurrentConfiguration, recorder: Recorder, stream: io.StringIO
) -> None:
    current.apply(push(3, GOOD))
    assert recorder.answers == [(1, 3, "")]
    assert recorder.tables[-1].match(hostname="a.example.com", path="/") == 0
    assert 'Updated to new configuration config="{\\"ingress\\"' in stream.getvalue()
    assert stream.getvalue().endswith("version=3\n")


def test_a_bad_push_leaves_the_old_one_in_force_and_says_why(current: CurrentConfiguration, recorder: Recorder) -> None:
    current.apply(push(1, GOOD))
    current.apply(push(2, b'{"ingress":[{"hostname":"a.example.com","service":"http://127.0.0.1:1"}]}'))
    assert recorder.answers[-1][1] == 1
    assert "ingress[0]" in recorder.answers[-1][2]
    assert len(recorder.tables) == 1
    told = json.loads(current.as_json())
    assert (told["version"], len(told["config"]["ingress"])) == (1, 2)


@pytest.mark.parametrize("version", [0, 1])
def test_a_version_not_above_ours_is_answered_with_ours_and_ignored(
    current: CurrentConfiguration, recorder: Recorder, version: int
) -> None:
    current.apply(push(1, GOOD))
    current.apply(push(version, b"nonsense", push_id=2))
    assert recorder.answers[-1] == (2, 1, "")
    assert len(recorder.tables) == 1


@pytest.mark.requirement("S5")
def test_a_missing_ca_file_is_a_refusal_of_the_push(current: CurrentConfiguration, recorder: Recorder) -> None:
    document = b'{"ingress":[{"service":"https://127.0.0.1:1","originRequest":{"caPool":"/nonexistent.pem"}}]}'
    current.apply(push(1, document))
    assert "ingress[0].originRequest.caPool" in recorder.answers[-1][2]


def test_the_configuration_before_any_push_is_version_minus_1_and_503(current: CurrentConfiguration) -> None:
    current.start(None)
    shown = json.loads(current.as_json())
    assert shown["version"] == -1
    assert [rule["service"] for rule in shown["config"]["ingress"]] == ["http_status:503"]


def test_the_shown_configuration_has_every_key_in_stock_form(current: CurrentConfiguration) -> None:
    document = json.loads(GOOD)
    document["originRequest"] = {"connectTimeout": 7}
    document["ingress"][0]["path"] = "^/x"
    current.apply(push(4, json.dumps(document).encode()))
    shown = json.loads(current.as_json())
    first, last = shown["config"]["ingress"]
    assert (shown["version"], first["path"], last["path"], last["hostname"]) == (4, "^/x", None, "")
    assert first["originRequest"]["connectTimeout"] == shown["config"]["originRequest"]["connectTimeout"] == 7
    assert first["originRequest"]["keepAliveConnections"] == 100


def test_an_empty_push_is_told_loudly(current: CurrentConfiguration, stream: io.StringIO) -> None:
    current.apply(push(0, b"{}"))
    assert "every request is answered 503" in stream.getvalue()


def test_local_rules_are_told_with_durations_as_whole_seconds() -> None:
    local = parse_configuration(
        b"ingress:\n- hostname: a.example.com\n  service: http://127.0.0.1:1\n"
        b"  originRequest: {connectTimeout: 1m}\n- service: http_status:404\n",
        form="yaml",
    )
    assert json.loads(local_document(local, {"protocol": "quic"})) == {
        "__configuration_flags": {"protocol": "quic"},
        "ingress": [
            {"hostname": "a.example.com", "service": "http://127.0.0.1:1", "originRequest": {"connectTimeout": 60}},
            {"service": "http_status:404", "originRequest": {}},
        ],
        "warp-routing": {},
    }


def pushed_with_ca_pool(path: Path) -> bytes:
    rule = {"service": "https://127.0.0.1:1", "originRequest": {"caPool": str(path)}}
    return json.dumps({"ingress": [rule]}).encode()


@pytest.mark.requirement("S5")
def test_a_ca_pool_that_is_no_regular_file_is_refused_and_not_waited_for(
    current: CurrentConfiguration, recorder: Recorder, tmp_path: Path
) -> None:
    fifo, large = tmp_path / "fifo", tmp_path / "large"
    os.mkfifo(fifo)
    with large.open("wb") as file:
        file.truncate(100 << 30)
    for version, path in enumerate([fifo, Path("/dev/zero"), Path("/dev/tty"), tmp_path, large, Path("/proc/kmsg")]):
        current.apply(push(version, pushed_with_ca_pool(path)))
        assert "ingress[0].originRequest.caPool" in recorder.answers[-1][2], path
    assert current.version == -1


def test_a_ca_pool_that_many_rules_name_is_read_once_and_bounded_in_all(
    recorder: Recorder, stream: io.StringIO
) -> None:
    read: list[str] = []

    def read_file(path: str) -> bytes:
        read.append(path)
        return b"-----BEGIN CERTIFICATE-----" + b"\n" * (1 << 20)

    rules = [
        {"service": "https://h:1", "originRequest": {"caPool": "/ca.pem"}, "hostname": f"h{n}.test"} for n in range(70)
    ]
    current = CurrentConfiguration(cast(Connector, recorder), Log(level="debug", stream=stream), read_file=read_file)
    current.apply(push(1, json.dumps({"ingress": [*rules, {"service": "http_status:404"}]}).encode()))
    assert "ingress[63].originRequest.caPool: the files of all rules together" in recorder.answers[-1][2]
    assert read == ["/ca.pem"]


@pytest.mark.requirement("S40")
def test_a_pushed_rule_to_metadata_is_named_and_the_others_serve(
    current: CurrentConfiguration, recorder: Recorder, stream: io.StringIO
) -> None:
    rules = [
        {"hostname": "a.test", "service": "http://169.254.169.254"},
        {"hostname": "b.test", "service": "http://127.0.0.1:1"},
        {"service": "http_status:404"},
    ]
    current.apply(push(1, json.dumps({"ingress": rules}).encode()))
    assert recorder.answers[-1][1:] == (1, "")
    assert stream.getvalue().count("ingress[0].service") == 1
    assert "list it in --allow-origins" in stream.getvalue()


def test_a_hostname_whose_rule_leads_to_a_port_of_this_host_is_known(
    current: CurrentConfiguration, recorder: Recorder
) -> None:
    rules = [
        {"hostname": "status.example.com", "service": "http://localhost:2000"},
        {"hostname": "six.example.com", "service": "http://[::1]:2000"},
        {"hostname": "*.wild.example.com", "service": "http://127.0.0.1:2000"},
        {"hostname": "other.example.com", "service": "http://127.0.0.1:12000"},
        {"service": "http://127.0.0.1:2000"},
    ]
    current.start(parse_configuration({"ingress": rules}))
    assert current.has_rule_for("status.example.com", "2000")
    assert current.has_rule_for("six.example.com", "2000")
    for name in ("other.example.com", "x.wild.example.com", "evil.example"):
        assert not current.has_rule_for(name, "2000"), name
    assert not current.has_rule_for("status.example.com", "20")


def test_a_pushed_slip_is_told_and_the_configuration_taken(
    current: CurrentConfiguration, recorder: Recorder, stream: io.StringIO
) -> None:
    current.apply(push(2, b'{"ingress":[{"service":"http_status:404","originRequest":{"noTlsVerify":true}}]}'))
    assert recorder.answers == [(1, 2, "")]
    assert "(write noTLSVerify)" in stream.getvalue()


def test_this_hosts_own_bound_of_flows_stands_in_place_of_what_is_pushed(recorder: Recorder) -> None:
    current = CurrentConfiguration(cast(Connector, recorder), Log(level="panic"), max_active_flows=7)
    current.start(None)
    document = {
        "ingress": [{"service": "http_status:404"}],
        "warp-routing": {"maxActiveFlows": 900, "connectTimeout": 3},
    }
    current.apply(push(1, json.dumps(document).encode()))
    shown = json.loads(current.as_json())
    assert shown["version"] == 1
    assert shown["config"]["warp-routing"] == {"maxActiveFlows": 7, "connectTimeout": 3}
    bounded = with_flows(parse_configuration(json.dumps(document).encode()), 7)
    assert bounded.warp_routing is not None
    assert (bounded.warp_routing["max_active_flows"], bounded.warp_routing["connect_timeout_s"]) == (7, 3.0)
