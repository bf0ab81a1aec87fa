"""The API's figures against their bounds: none missing, none invented."""

from pathlib import Path

import pytest

from bench.api_report import BOUNDS, paired_states, plot, table, verdicts
from bench.measure import Row


def data_path(chain: str, number: int, p50: float) -> Row:
    return {"what": "data path", "chain": chain, "round": number, "p50_ms": p50, "p99_ms": 2 * p50}


def test_every_figure_is_there_and_a_missing_one_is_none() -> None:
    told = verdicts([])
    assert set(told) == set(BOUNDS)
    assert all(figure["value"] is None for figure in told.values())


def test_a_ratio_is_within_its_round() -> None:
    rows = [
        data_path("idle", 0, 1.0),
        data_path("api load", 0, 1.5),
        data_path("idle", 1, 10.0),
        data_path("api load", 1, 11.0),
    ]
    assert paired_states(rows, "idle", "p50_ms") == pytest.approx(1.3)
    assert paired_states(rows, "other load", "p50_ms") is None


def test_the_table_says_what_was_wanted_and_the_plot_is_drawn(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"what": "list", "chain": "api", "round": 0, "p99_ms": 12.0},
        {"what": "batch", "chain": "api", "round": 0, "per_s": 400.0},
    ]
    told = verdicts(rows)
    assert "wanted <= 60" in table(rows, told)
    plot(told, tmp_path / "api.svg")
    drawn = (tmp_path / "api.svg").read_text()
    assert drawn.startswith("<svg") and "12" in drawn and "400" in drawn
