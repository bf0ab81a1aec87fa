"""The figures that later work is judged by: none missing, none invented."""

import json
import re
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from bench.load import Target, paced, percentile
from bench.measure import Row, median, paired, spread
from bench.neighbours import frame, head
from bench.report import KEYS, plot, ratios, summary, table

OF_THE_ISSUE = {
    "rps_vs_stock",
    "rps_vs_nginx_chain",
    "p50_added_ms",
    "p99_added_ms",
    "cpu_us_per_request_connector",
    "cpu_us_per_request_stock",
    "cpu_us_per_request_edge",
    "download_vs_nginx_chain",
    "upload_vs_nginx_chain",
    "rss_connector_mb",
    "rss_stock_mb",
    "rss_edge_mb",
    "config_to_effect_ms",
    "register_s",
    "neighbour_p99_ratio",
    "promotion_gap_s",
}


def rows(chain: str, what: str, key: str, *values: float) -> list[Row]:
    return [{"what": what, "chain": chain, "round": n, key: value} for n, value in enumerate(values)]


def test_every_figure_is_there_and_a_missing_one_has_its_reason() -> None:
    told = ratios([], ours="ours", stock="stock")
    assert set(KEYS) >= OF_THE_ISSUE
    for key in KEYS:
        assert told[key] is None
        assert told[f"{key}_reason"]
    assert "QANAT_TEST_CLOUDFLARED" in told["rps_vs_stock_reason"]
    json.dumps(told)
    told = ratios(rows("stock", "burst", "rps", 100), ours="ours", stock="stock")
    assert told["register_stock_s_reason"] == told["register_s_reason"], "left out, with a stock connector at hand"


def test_ratio_is_taken_within_a_round() -> None:
    measured = rows("ours", "burst", "rps", 100, 10, 100) + rows("nginx chain", "burst", "rps", 200, 20, 400)
    assert paired(measured, "burst", "ours", "nginx chain", "rps") == 0.5
    told = ratios(measured, ours="ours", stock="stock")
    assert told["rps_vs_nginx_chain"] == 0.5
    assert told["rps_vs_stock"] is None


def test_added_latency_is_what_nginx_itself_does_not_need() -> None:
    measured = rows("ours", "paced", "p50_ms", 1.5, 1.4, 1.6) + rows("nginx direct", "paced", "p50_ms", 0.4, 0.5, 0.6)
    told = ratios(measured, ours="ours", stock="stock")
    assert told["p50_added_ms"] == pytest.approx(1.0)
    assert told["p50_added_clustered_ms"] is None
    measured += rows("ours", "clustered", "p50_ms", 3.5) + rows("nginx direct", "clustered", "p50_ms", 1.5)
    told = ratios(measured, ours="ours", stock="stock")
    assert (told["p50_added_ms"], told["p50_added_clustered_ms"]) == (pytest.approx(1.0), pytest.approx(2.0))


@pytest.mark.parametrize("spread_out", [True, False])
def test_paced_load_tells_how_evenly_it_came(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spread_out: bool) -> None:
    asked: list[str] = []

    def h2load(_target: Target, _path: str, *arguments: str, timeout_s: float) -> str:
        asked.extend(arguments)
        first = 1_700_000_000_000_000
        sent = [first + (each * 2000 if spread_out else each // 4 * 8000) for each in range(2000)]
        (tmp_path / "h2load.log").write_text("".join(f"{at}\t200\t{500 if at < first + 1e6 else 700}\n" for at in sent))
        return f"{timeout_s}"

    monkeypatch.setattr("bench.load.h2load", h2load)
    got = paced(Target("t", "h", 1), "/", connections=16, rate=400, seconds=4, folder=tmp_path, spread=spread_out)
    assert (got.p50_ms, got.p99_ms) == (0.7, 0.7), "the first second is left out"
    assert got.together == (0.0 if spread_out else pytest.approx(0.75, abs=0.01))
    assert ("--rate-period=3ms" in asked) == spread_out
    assert "--rps=25.0" in asked


def test_median_and_spread() -> None:
    measured = rows("ours", "burst", "rps", 90, 100, 120)
    assert median(measured, "burst", "ours", "rps") == 100
    assert spread(measured, "burst", "ours", "rps") == pytest.approx(0.3)
    assert median(measured, "burst", "stock", "rps") is None
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0


def test_report_and_plot_stand_alone(tmp_path: Path) -> None:
    measured = rows("ours", "burst", "rps", 100) + rows("nginx chain", "burst", "rps", 200)
    assert summary(measured)
    assert "rps_vs_nginx_chain" in table(measured, ratios(measured, ours="ours", stock="stock"))
    plot(measured, tmp_path / "plot.svg", ours="ours", stock="stock")
    drawn = (tmp_path / "plot.svg").read_text()
    assert "<script" not in drawn
    assert "0.50" in drawn


def test_neighbours_ratio_is_the_median_of_its_rounds_and_its_bar_stays_on_the_page(tmp_path: Path) -> None:
    measured = rows("ours", "neighbour", "p99_ratio", 1.2, 1.5, 90) + rows("stock", "neighbour", "p99_ratio", 400)
    told = ratios(measured, ours="ours", stock="stock")
    assert told["neighbour_p99_ratio"] == 1.5
    assert told["neighbour_p99_ratio_stock"] == 400
    plot(measured, tmp_path / "plot.svg", ours="ours", stock="stock")
    drawn = (tmp_path / "plot.svg").read_text()
    assert "400.00" in drawn
    heights = [float(text) for text in re.findall(r'<rect x="[^"]*" y="[^"]*" width="48" height="([^"]*)"', drawn)]
    assert len(heights) == 2
    assert max(heights) <= 400


def test_an_attackers_frames_are_what_they_say() -> None:
    """By a library that shares no code with the bench."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    asked = frame(1, 5, 1, head("app.bench.test", "/large"))
    events = connection.receive_data(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"\0\x04\0\0\0\0") + asked)
    (request,) = [event for event in events if isinstance(event, h2.events.RequestReceived)]
    fields = {str(name): str(text) for name, text in request.headers or []}
    assert fields == {
        ":method": "GET",
        ":scheme": "https",
        ":path": "/large",
        ":authority": "app.bench.test",
    }
    assert connection.remote_settings.initial_window_size == 0
