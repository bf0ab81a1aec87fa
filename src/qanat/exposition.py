"""Prometheus' text format: families of samples, sorted by name, labels sorted as stock's client library has them."""

from collections.abc import Iterable, Mapping
from typing import Literal, TypedDict

Kind = Literal["counter", "gauge"]
Sample = tuple[Mapping[str, str], float]


class Histogram(TypedDict):
    """Observations by bucket, those above every bound last, and their sum."""

    bounds: list[float]
    counts: list[int]
    sum: float


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"


class Exposition:
    """One scrape's answer, family by family. A family without samples is left out, as stock's client library does."""

    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def add(self, name: str, kind: Kind, help: str, samples: Iterable[Sample] | float) -> None:
        """A family; a number alone is its one sample, without labels."""
        given = [({}, samples)] if isinstance(samples, int | float) else list(samples)
        if given:
            lines = self._begin(name, kind, help)
            lines.extend(f"{name}{_labels(labels)} {_number(value)}" for labels, value in given)

    def add_histogram(self, name: str, help: str, samples: Iterable[tuple[Mapping[str, str], Histogram]]) -> None:
        """A family of histograms; their buckets are made cumulative."""
        given = list(samples)
        if not given:
            return
        lines = self._begin(name, "histogram", help)
        for labels, histogram in given:
            total = 0
            for bound, count in zip([*histogram["bounds"], float("inf")], histogram["counts"], strict=True):
                total += count
                lines.append(f"{name}_bucket{_labels({**labels, 'le': _number(bound)}, last='le')} {total}")
            lines.append(f"{name}_sum{_labels(labels)} {_number(histogram['sum'])}")
            lines.append(f"{name}_count{_labels(labels)} {total}")

    def text(self) -> str:
        """All of it, by name."""
        return "".join(f"{line}\n" for name in sorted(self._families) for line in self._families[name])

    def _begin(self, name: str, kind: str, help: str) -> list[str]:
        return self._families.setdefault(name, [f"# HELP {name} {help}", f"# TYPE {name} {kind}"])


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _labels(labels: Mapping[str, str], last: str = "") -> str:
    if not labels:
        return ""
    pairs = (f'{key}="{_escaped(labels[key])}"' for key in sorted(labels, key=lambda key: (key == last, key)))
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
