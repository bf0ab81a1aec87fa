"""The API's rows → the figures with their bounds, a table and a plot."""

import statistics
from pathlib import Path
from typing import Any

from bench.measure import Row, median, spread
from bench.report import text

# name: what it is, the bound, and whether more is better
BOUNDS: dict[str, tuple[str, float, bool]] = {
    "start_s": ("start with everything, s", 3.0, False),
    "list_p99_ms": ("list of 100 tunnels, p99 ms", 60.0, False),
    "single_writes_per_s": ("single record writes/s", 100.0, True),
    "batch_writes_per_s": ("record writes/s in batches", 500.0, True),
    "put_p99_ms": ("configuration PUT, p99 ms", 100.0, False),
    "data_path_p50_ratio": ("data path p50, API loaded / idle", 1.0, False),
    "data_path_p99_ratio": ("data path p99, API loaded / idle", 1.0, False),
    "data_path_p99_ratio_to_other_load": ("data path p99, API loaded / other load", 1.0, False),
    "data_path_p50_ratio_apart": ("data path p50, API loaded / idle, apart", 1.0, False),
    "data_path_p99_ratio_apart": ("data path p99, API loaded / idle, apart", 1.0, False),
}
KEYS = {
    "start": ("start_s", "cpu_s", "rss_mb"),
    "list": ("p50_ms", "p99_ms", "per_s"),
    "single": ("p50_ms", "p99_ms", "per_s"),
    "single of 8 clients": ("p50_ms", "p99_ms", "per_s"),
    "batch": ("p50_ms", "p99_ms", "per_s"),
    "put": ("p50_ms", "p99_ms", "per_s"),
    "load": ("p99_ms", "per_s"),
    "data path": ("p50_ms", "p99_ms", "edge_cores"),
}


def verdicts(rows: list[Row]) -> dict[str, Any]:
    """Every figure of BOUNDS with its bound; None for what was left out of the run."""
    found = {
        "start_s": median(rows, "start", "api", "start_s"),
        "list_p99_ms": median(rows, "list", "api", "p99_ms"),
        "single_writes_per_s": median(rows, "single", "api", "per_s"),
        "batch_writes_per_s": median(rows, "batch", "api", "per_s"),
        "put_p99_ms": median(rows, "put", "api", "p99_ms"),
        "data_path_p50_ratio": paired_states(rows, "idle", "p50_ms"),
        "data_path_p99_ratio": paired_states(rows, "idle", "p99_ms"),
        "data_path_p99_ratio_to_other_load": paired_states(rows, "other load", "p99_ms"),
        "data_path_p50_ratio_apart": paired_states(rows, "idle, apart", "p50_ms", loaded="api load, apart"),
        "data_path_p99_ratio_apart": paired_states(rows, "idle, apart", "p99_ms", loaded="api load, apart"),
    }
    return {
        key: {"value": round(value, 3) if value is not None else None, "bound": bound, "more_is_better": more}
        for key, (_, bound, more) in BOUNDS.items()
        for value in [found[key]]
    }


def paired_states(rows: list[Row], other: str, key: str, *, loaded: str = "api load") -> float | None:
    """The median of the ratios within a round, `loaded` over `other`."""
    values = {(row["chain"], row["round"]): row[key] for row in rows if row["what"] == "data path"}
    shares = [
        value / values[other, number]
        for (chain, number), value in values.items()
        if chain == loaded and (other, number) in values
    ]
    return statistics.median(shares) if shares else None


def table(rows: list[Row], told: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{'':22}{'chain':18}{'figure':14}{'median':>12}{'spread':>9}"]
    for what, keys in KEYS.items():
        for chain in dict.fromkeys(row["chain"] for row in rows if row["what"] == what):
            for key in keys:
                middle = median(rows, what, chain, key)
                if middle is not None:
                    apart = spread(rows, what, chain, key)
                    lines.append(
                        f"{what:22}{chain:18}{key:14}{middle:>12.3f}{f'{apart:.0%}' if apart is not None else '':>9}"
                    )
    lines.append("")
    for key, figure in told.items():
        sign = ">=" if figure["more_is_better"] else "<="
        lines.append(f"{BOUNDS[key][0]:44}{figure['value']!s:>12}  wanted {sign} {figure['bound']:g}")
    return "\n".join(lines)


WIDTH, LEFT, ROW, TOP = 760, 300, 34, 60


def plot(told: dict[str, Any], path: Path) -> None:
    """Each figure as its share of what is allowed: a bar that ends left of the line holds its bound."""
    measured = {key: figure for key, figure in told.items() if figure["value"]}
    height = TOP + ROW * len(measured) + 30
    shares = {
        key: figure["bound"] / figure["value"] if figure["more_is_better"] else figure["value"] / figure["bound"]
        for key, figure in measured.items()
    }
    scale = (WIDTH - LEFT - 90) / max([1.0, *shares.values()])
    parts = [text(20, 28, "The control API: share of what is allowed (shorter is better)", size=16)]
    for number, (key, share) in enumerate(shares.items()):
        y = TOP + ROW * number
        colour = "#2f6fdf" if share <= 1 else "#e08a3c"
        parts.append(text(LEFT - 10, y + 15, BOUNDS[key][0], anchor="end"))
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{share * scale:.1f}" height="20" fill="{colour}"/>')
        parts.append(text(LEFT + share * scale + 6, y + 15, f"{measured[key]['value']:g}"))
    x = LEFT + scale
    parts.append(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 10}" y2="{height - 30}" stroke="#333" stroke-dasharray="4"/>'
    )
    parts.append(text(x, height - 12, "allowed", anchor="middle"))
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{ground}{"".join(parts)}</svg>\n')
