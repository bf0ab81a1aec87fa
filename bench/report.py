"""Rows → the ratios that the project is judged by, a table for people, and one plot."""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.measure import Row, median, paired, spread

NO_STOCK = "QANAT_TEST_CLOUDFLARED does not name a stock cloudflared"
LEFT_OUT = "left out of this run"
KEYS = [
    "rps_vs_stock",
    "rps_vs_nginx_chain",
    "p50_added_ms",
    "p99_added_ms",
    "p50_added_stock_ms",
    "p99_added_stock_ms",
    "p50_added_clustered_ms",
    "p50_added_clustered_stock_ms",
    "cpu_us_per_request_connector",
    "cpu_us_per_request_stock",
    "cpu_us_per_request_edge",
    "download_vs_nginx_chain",
    "upload_vs_nginx_chain",
    "download_stock_vs_nginx_chain",
    "upload_stock_vs_nginx_chain",
    "rss_connector_mb",
    "rss_stock_mb",
    "rss_edge_mb",
    "rss_connector_load_mb",
    "rss_stock_load_mb",
    "rss_edge_load_mb",
    "config_to_effect_ms",
    "register_s",
    "register_stock_s",
    "neighbour_p99_ratio",
    "neighbour_p99_ratio_stock",
    "promotion_gap_s",
    "promotion_gap_stock_s",
    "promotion_planned_gap_s",
    "promotion_planned_failed",
]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def less(one: float | None, other: float | None) -> float | None:
    return round(one - other, 3) if one is not None and other is not None else None


def ratios(rows: list[Row], *, ours: str, stock: str) -> dict[str, Any]:
    """Every key of KEYS; one that was not measured is null and has its reason under `<key>_reason`."""

    def of(what: str, chain: str, key: str) -> float | None:
        return median(rows, what, chain, key)

    nginx, direct = "nginx chain", "nginx direct"
    found: dict[str, float | None] = {
        "rps_vs_stock": rounded(paired(rows, "burst", ours, stock, "rps")),
        "rps_vs_nginx_chain": rounded(paired(rows, "burst", ours, nginx, "rps")),
        "p50_added_ms": less(of("paced", ours, "p50_ms"), of("paced", direct, "p50_ms")),
        "p99_added_ms": less(of("paced", ours, "p99_ms"), of("paced", direct, "p99_ms")),
        "p50_added_stock_ms": less(of("paced", stock, "p50_ms"), of("paced", direct, "p50_ms")),
        "p99_added_stock_ms": less(of("paced", stock, "p99_ms"), of("paced", direct, "p99_ms")),
        "p50_added_clustered_ms": less(of("clustered", ours, "p50_ms"), of("clustered", direct, "p50_ms")),
        "p50_added_clustered_stock_ms": less(of("clustered", stock, "p50_ms"), of("clustered", direct, "p50_ms")),
        "cpu_us_per_request_connector": of("burst", ours, "cpu_us_per_request_connector"),
        "cpu_us_per_request_stock": of("burst", stock, "cpu_us_per_request_connector"),
        "cpu_us_per_request_edge": of("burst", ours, "cpu_us_per_request_edge"),
        "rss_connector_mb": of("rest", ours, "rss_mb"),
        "rss_stock_mb": of("rest", stock, "rss_mb"),
        "rss_edge_mb": of("rest", "edge", "rss_mb"),
        "rss_connector_load_mb": of("burst", ours, "rss_connector_mb"),
        "rss_stock_load_mb": of("burst", stock, "rss_connector_mb"),
        "rss_edge_load_mb": of("burst", ours, "rss_edge_mb"),
        "config_to_effect_ms": of("configuration", "ours", "effect_ms"),
        "register_s": of("registration", ours, "register_s"),
        "register_stock_s": of("registration", stock, "register_s"),
        "neighbour_p99_ratio": of("neighbour", ours, "p99_ratio"),
        "neighbour_p99_ratio_stock": of("neighbour", stock, "p99_ratio"),
        "promotion_gap_s": of("promotion killed", ours, "gap_s"),
        "promotion_gap_stock_s": of("promotion killed", stock, "gap_s"),
        "promotion_planned_gap_s": of("promotion planned", ours, "gap_s"),
        "promotion_planned_failed": of("promotion planned", ours, "failed"),
    }
    for way in ("download", "upload"):
        found[f"{way}_vs_nginx_chain"] = rounded(paired(rows, way, ours, nginx, "mb_per_s"))
        found[f"{way}_stock_vs_nginx_chain"] = rounded(paired(rows, way, stock, nginx, "mb_per_s"))
    told: dict[str, Any] = {}
    has_stock = any(row["chain"] == stock for row in rows)
    for key in KEYS:
        told[key] = rounded(found[key])
        if found[key] is None:
            told[f"{key}_reason"] = NO_STOCK if "stock" in key and not has_stock else LEFT_OUT
    return told


MEASURED = {
    "burst": ("rps", "p50_ms", "p99_ms", "cpu_us_per_request_connector", "cpu_us_per_request_edge", "rss_connector_mb"),
    "paced": ("p50_ms", "p99_ms", "together"),
    "clustered": ("p50_ms", "p99_ms", "together"),
    "download": ("mb_per_s",),
    "upload": ("mb_per_s",),
    "rest": ("rss_mb",),
    "configuration": ("effect_ms", "put_ms"),
    "registration": ("register_s",),
    "neighbour quiet": ("p99_ms",),
    "neighbour downloads": ("p99_ms", "failed"),
    "neighbour uploads": ("p99_ms", "failed"),
    "neighbour": ("p99_ratio",),
    "promotion killed": ("gap_s", "failed"),
    "promotion planned": ("gap_s", "failed"),
}


def summary(rows: list[Row]) -> list[dict[str, Any]]:
    """Median and spread of everything that was measured."""
    found = []
    for what, keys in MEASURED.items():
        for chain in dict.fromkeys(row["chain"] for row in rows if row["what"] == what):
            for key in keys:
                middle = median(rows, what, chain, key)
                if middle is not None:
                    apart = spread(rows, what, chain, key)
                    found.append(
                        {"what": what, "chain": chain, "key": key, "median": round(middle, 3), "spread": apart}
                    )
    return found


def table(rows: list[Row], told: dict[str, Any]) -> str:
    lines = [f"{'':20}{'chain':20}{'figure':32}{'median':>12}{'spread':>9}"]
    for line in summary(rows):
        apart = f"{line['spread']:.0%}" if line["spread"] is not None else ""
        lines.append(f"{line['what']:20}{line['chain']:20}{line['key']:32}{line['median']:>12.3f}{apart:>9}")
    lines.append("")
    for key in KEYS:
        lines.append(f"{key:34}{told[key]!s:>12}  {told.get(f'{key}_reason', '')}")
    return "\n".join(lines)


COLOURS = ("#8a8f98", "#2f6fdf", "#e08a3c")
FIGURES = (
    ("requests/s, 1 KiB", "burst", "rps"),
    ("download", "download", "mb_per_s"),
    ("upload", "upload", "mb_per_s"),
)
NEIGHBOUR = "p99 beside an attacker"
HIGHEST = 4.0
"""Of a bar: a neighbour that waits for seconds would make all others flat. The number above it is the true one."""
WIDTH, HEIGHT, LEFT, TOP, FOOT, BAR = 960, 400, 50, 60, 80, 54


def plot(rows: list[Row], path: Path, *, ours: str, stock: str) -> None:
    """Each chain against nginx(TLS) → nginx on the same cores (1.0), and a visitor's p99 beside an attacker against its own
    (1.0), as one SVG of bars."""
    chains = (("nginx → nginx", "nginx chain"), ("qanat edge → qanat", ours), ("qanat edge → cloudflared", stock))
    shares = [[paired(rows, what, chain, "nginx chain", key) for _, what, key in FIGURES] for _, chain in chains]
    for line, (_, chain) in zip(shares, chains, strict=True):
        line.append(median(rows, "neighbour", chain, "p99_ratio"))
    labels = [*(label for label, _, _ in FIGURES), NEIGHBOUR]
    top = max([1.0, *(min(value, HIGHEST) for line in shares for value in line if value is not None)])
    floor = HEIGHT - FOOT
    scale = (floor - TOP) / top
    title = "Against nginx(TLS) → nginx = 1.0 on the same cores; right: against a visitor's own p99 (medians)"
    parts = [text(LEFT, 28, title, size=16)]
    for step in range(int(top / 0.25) + 1):
        y = floor - step * 0.25 * scale
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(text(LEFT - 8, y + 4, f"{step * 0.25:.2f}", anchor="end"))
    group = (WIDTH - LEFT - 20) / len(labels)
    for n, label in enumerate(labels):
        parts.append(text(LEFT + group * (n + 0.5), floor + 20, label, anchor="middle"))
        for m, line in enumerate(shares):
            value = line[n]
            if value is not None:
                x, height = LEFT + group * n + (group - 3 * BAR) / 2 + m * BAR, min(value, HIGHEST) * scale
                box = f'x="{x:.1f}" y="{floor - height:.1f}" width="{BAR - 6}" height="{height:.1f}"'
                parts.append(f'<rect {box} fill="{COLOURS[m]}"/>')
                parts.append(text(x + (BAR - 6) / 2, floor - height - 5, f"{value:.2f}", anchor="middle"))
    for m, (label, _) in enumerate(chains):
        x = LEFT + m * 230
        parts.append(f'<rect x="{x}" y="{HEIGHT - 34}" width="12" height="12" fill="{COLOURS[m]}"/>')
        parts.append(text(x + 18, HEIGHT - 23, label))
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{ground}{"".join(parts)}</svg>\n')


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-family="sans-serif" font-size="{size}">{escape(words)}</text>'
