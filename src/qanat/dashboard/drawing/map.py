"""The map of tunnels, laid out: hostnames → tunnels → connections → nodes → origins. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Mark = Literal["well", "ill", "weak", "off"]
"""How a thing is: `weak` works in part or isn't known; `off` is not in use."""

ROW = 24
GAP = 14
TOP = 34
COLUMNS = {
    "hostname": (1, 270),
    "tunnel": (341, 180),
    "connections": (581, 104),
    "node": (745, 170),
    "origin": (985, 254),
}
WIDTH = 1240
MOST = 5
"""Of one kind in one tunnel; the rest is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One box: its text (a stranger's, maybe), what is said of it, and where it leads."""

    text: str
    mark: Mark
    title: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A node with its connections: `held` of `wanted`."""

    node: Thing
    held: int
    wanted: int
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A tunnel and all that hangs on it. `hostnames`: in all."""

    tunnel: Thing
    names: Sequence[Thing]
    hostnames: int
    holders: Sequence[Holder]
    origins: Sequence[Thing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A thing in its place."""

    thing: Thing
    kind: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Line:
    """A way from one box to another, as SVG's path has it."""

    path: str
    mark: Mark


@dataclass(slots=True)
class Drawing:
    """All of it."""

    width: int = WIDTH
    height: int = TOP
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    rules: list[int] = field(default_factory=list)


def lay_out(groups: Sequence[Group]) -> Drawing:
    """Tunnels below each other, each as high as the most of what it has."""
    drawing = Drawing()
    for group in groups:
        drawing.height = _group(drawing, group, drawing.height) + GAP
        drawing.rules.append(drawing.height - GAP // 2)
    if drawing.rules:
        drawing.rules.pop()
    return drawing


def _group(drawing: Drawing, group: Group, top: int) -> int:
    names = _bounded(group.names, group.hostnames, "hostname", group.tunnel.url)
    holders = list(group.holders[:MOST])
    nodes = _bounded([each.node for each in holders], len(group.holders), "node", group.tunnel.url)
    origins = _bounded(group.origins, len(group.origins), "origin", group.tunnel.url)
    rows = max(len(names), len(nodes), len(origins), 1)
    height = rows * ROW
    tunnel = _box(drawing, group.tunnel, "tunnel", _middle(top, height, 0, 1))
    for number, thing in enumerate(names):
        box = _box(drawing, thing, "hostname", _middle(top, height, number, len(names)))
        _line(drawing, box, tunnel, _worse(thing.mark, group.tunnel.mark))
    placed = [
        _box(drawing, thing, "node", _middle(top, height, number, len(nodes))) for number, thing in enumerate(nodes)
    ]
    for box, holder in zip(placed, holders, strict=False):
        mark: Mark = "ill" if not holder.held else "weak" if holder.held < holder.wanted else "well"
        text = f"{holder.held}/{holder.wanted} {holder.protocol}".strip()
        told = f"{holder.held} of {holder.wanted} connections"
        middle = _box(drawing, Thing(text=text, mark=mark, title=told), "connections", box.y - 2)
        _line(drawing, tunnel, middle, mark)
        _line(drawing, middle, box, mark)
    for number, thing in enumerate(origins):
        box = _box(drawing, thing, "origin", _middle(top, height, number, len(origins)))
        for node, holder in zip(placed, holders, strict=False):
            _line(drawing, node, box, "off" if holder.node.mark == "off" else thing.mark)
    return top + height


def _bounded(things: Sequence[Thing], total: int, kind: str, url: str) -> list[Thing]:
    shown = list(things[:MOST])
    if total > len(shown):
        rest = total - len(shown)
        shown.append(Thing(text=f"{rest} more {kind}{'s' if rest > 1 else ''}", mark="off", url=url))
    return shown


def _middle(top: int, height: int, number: int, of: int) -> int:
    step = height / of
    return round(top + number * step + step / 2 - ROW / 2)


def _box(drawing: Drawing, thing: Thing, kind: str, y: int) -> Box:
    x, width = COLUMNS[kind]
    box = Box(thing=thing, kind=kind, x=x, y=y + 2, width=width, height=ROW - 4)
    drawing.boxes.append(box)
    return box


def _line(drawing: Drawing, start: Box, end: Box, mark: Mark) -> None:
    x, y = start.x + start.width, start.y + start.height // 2
    to_x, to_y = end.x, end.y + end.height // 2
    bend = (x + to_x) // 2
    drawing.lines.append(Line(f"M{x} {y}C{bend} {y} {bend} {to_y} {to_x} {to_y}", mark))


def _worse(one: Mark, other: Mark) -> Mark:
    order: tuple[Mark, ...] = ("well", "off", "weak", "ill")
    return max(one, other, key=order.index)
