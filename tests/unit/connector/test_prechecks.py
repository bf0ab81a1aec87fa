import io
import json
from typing import Any

from qanat.connector import prechecks
from qanat.connector.log import Log
from qanat.connector.prechecks import boxed, is_hopeless, rows, suggested, table

GOOD: prechecks.EdgeCheck = ("region1.v2.argotunnel.com", "", "", "", [])
NO_UDP: prechecks.EdgeCheck = ("region2.v2.argotunnel.com", "", "no answer", "", [])
NO_NAME: prechecks.EdgeCheck = ("edge.test:7844", "no such name", None, None, [])


def lines_of(*edges: prechecks.EdgeCheck, protocol: str = "auto") -> list[str]:
    return table(rows(edges), protocol)


def test_all_well_is_the_table_of_stock() -> None:
    assert lines_of(GOOD, ("region2.v2.argotunnel.com", "", "", "", [])) == [
        "COMPONENT         TARGET                     STATUS  DETAILS",
        "DNS Resolution    region1.v2.argotunnel.com  PASS    DNS Resolved successfully",
        "DNS Resolution    region2.v2.argotunnel.com  PASS    DNS Resolved successfully",
        "UDP Connectivity  region1.v2.argotunnel.com  PASS    QUIC connection successful",
        "UDP Connectivity  region2.v2.argotunnel.com  PASS    QUIC connection successful",
        "TCP Connectivity  region1.v2.argotunnel.com  PASS    HTTP/2 connection successful",
        "TCP Connectivity  region2.v2.argotunnel.com  PASS    HTTP/2 connection successful",
        "",
        "SUMMARY: Environment is healthy. cloudflared will use 'quic' as primary protocol.",
    ]


def test_udp_blocked_is_a_warning_and_http2_will_do() -> None:
    lines = lines_of(GOOD, NO_UDP)
    assert "WARNING: Allow outbound QUIC traffic on port 7844 or use HTTP2." in lines
    assert lines[-1] == ("SUMMARY: Environment ready with degraded transport. cloudflared will proceed using 'http2'.")
    checks = rows([GOOD, NO_UDP])
    assert (suggested(checks, "quic"), suggested(rows([GOOD]), "http2"), is_hopeless(checks)) == (
        "http2",
        "http2",
        False,
    )


def test_why_a_probe_failed_stands_behind_stocks_words() -> None:
    assert "UDP Connectivity  region2.v2.argotunnel.com  FAIL    QUIC connection failed  (no answer)" in lines_of(
        NO_UDP
    )


def test_a_name_that_does_not_resolve_is_an_error_and_the_rest_is_skipped() -> None:
    lines = lines_of(NO_NAME)
    assert any(line.startswith("ERROR: Ensure your DNS resolver can resolve 'edge.test:7844'") for line in lines)
    assert sum("SKIP    DNS prerequisite failed" in line for line in lines) == 2
    assert lines[-1].startswith("SUMMARY: Environment has critical failures.")
    assert suggested(rows([NO_NAME]), "auto") is None


def test_both_transports_blocked_is_hopeless() -> None:
    assert is_hopeless(rows([("e:1", "", "no answer", "refused", [])]))


def test_the_box_has_its_title_in_the_middle() -> None:
    assert boxed(["abcdefghij", "x"], "TITLE") == [
        "+--------------+",
        "|    TITLE     |",
        "+--------------+",
        "|  abcdefghij  |",
        "|  x           |",
        "+--------------+",
    ]


def test_each_row_is_a_json_line_too_and_one_sums_up() -> None:
    stream = io.StringIO()
    prechecks.tell(Log(json=True, stream=stream), rows([NO_UDP]), protocol="auto")
    told: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    lines = [line for line in told if line["message"] == "precheck"]
    assert [(line["component"], line["status"]) for line in lines] == [
        ("DNS Resolution", "pass"),
        ("UDP Connectivity", "fail"),
        ("TCP Connectivity", "pass"),
    ]
    assert (told[-1]["message"], told[-1]["hard_fail"], told[-1]["suggested_protocol"]) == (
        "precheck complete",
        False,
        "http2",
    )
    assert [(line["details"], line.get("reason")) for line in lines][1] == ("QUIC connection failed", "no answer")
    assert {line["run_id"] for line in lines} == {told[-1]["run_id"]}
