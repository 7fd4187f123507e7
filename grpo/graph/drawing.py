"""The graph as an SVG: each stage stands in a row below what it needs, long edges pass around boxes. Pure.

layout(parents)  →  a position for every stage and a line for every edge        (after Sugiyama, simplified)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 196, 50
GAP_X, GAP_Y = 22, 34
LANE = 14
"""Width kept free for a line that passes a row."""
SWEEPS = 8

Point = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """The upper left corners of the boxes and the corners of the lines, in pixels."""

    boxes: Mapping[str, Point]
    edges: Mapping[tuple[str, str], list[Point]]
    """(parent, child) → from the middle of the parent's lower side to that of the child's upper side."""
    width: float
    height: float


def layout(parents: Mapping[str, Sequence[str]]) -> Layout:
    """Lay out the stages of a graph; `parents` lists parents before their children."""
    depth: dict[str, int] = {}
    for name, on in parents.items():
        depth[name] = max((depth[p] + 1 for p in on), default=0)
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    above: dict[str, list[str]] = {}
    chains: dict[tuple[str, str], list[str]] = {}
    for name, on in parents.items():
        rows[depth[name]].append(name)
        above[name] = []
        for parent in on:
            # A slot of its own in every row that the line passes.
            chain = [
                parent,
                *(f"{parent}>{name}@{row}" for row in range(depth[parent] + 1, depth[name])),
                name,
            ]
            for row, (upper, lower) in enumerate(pairwise(chain), depth[parent] + 1):
                if lower != name:
                    rows[row].append(lower)
                above.setdefault(lower, []).append(upper)
            chains[parent, name] = chain
    below: dict[str, list[str]] = {}
    for lower, uppers in above.items():
        for upper in uppers:
            below.setdefault(upper, []).append(lower)
    widths = {slot: WIDTH if slot in parents else LANE for row in rows for slot in row}
    x = _straight(rows, above, below, widths)
    left = min((x[p] for row in rows for p in row), default=0.0)
    boxes = {name: (x[name] - left, depth[name] * (HEIGHT + GAP_Y)) for name in parents}
    edges = {}
    for (parent, child), chain in chains.items():
        points = []
        for row, slot in enumerate(chain, depth[parent]):
            middle, top = x[slot] - left + widths[slot] / 2, row * (HEIGHT + GAP_Y)
            if slot != parent:
                points.append((middle, float(top)))
            if slot != child:
                points.append((middle, float(top + HEIGHT)))
        edges[parent, child] = points
    return Layout(
        boxes,
        edges,
        max((x[p] - left + widths[p] for row in rows for p in row), default=0.0),
        max(len(rows) * (HEIGHT + GAP_Y) - GAP_Y, 0),
    )


def _straight(
    rows: list[list[str]],
    above: Mapping[str, list[str]],
    below: Mapping[str, list[str]],
    widths: Mapping[str, float],
) -> dict[str, float]:
    """Return the left side of every slot: near the middle of its neighbours, clear of the others in its row."""
    x = {slot: float(i * (WIDTH + GAP_X)) for row in rows for i, slot in enumerate(row)}

    def middle(slot: str) -> float:
        return x[slot] + widths[slot] / 2

    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            near = above if down else below
            wish = {p: sum(map(middle, near[p])) / len(near[p]) if near.get(p) else middle(p) for p in row}
            row.sort(key=lambda p: wish[p])
            _spread(row, wish, widths, x)
    return x


def _spread(
    row: Sequence[str], wish: Mapping[str, float], widths: Mapping[str, float], x: dict[str, float]
) -> None:
    """Put the slots of a row as near to their wished middles as their widths allow, in order.

    Neighbours that collide become a block, which moves to the mean of its members.
    """
    blocks: list[tuple[list[str], float]] = []  # slots, left side

    def left_of(slots: Sequence[str]) -> float:
        offset, total = 0.0, 0.0
        for p in slots:
            total += wish[p] - widths[p] / 2 - offset
            offset += widths[p] + GAP_X
        return total / len(slots)

    for slot in row:
        slots, left = [slot], wish[slot] - widths[slot] / 2
        while blocks:
            before, start = blocks[-1]
            if start + sum(widths[p] + GAP_X for p in before) <= left:
                break
            blocks.pop()
            slots = [*before, *slots]
            left = left_of(slots)
        blocks.append((slots, left))
    for slots, left in blocks:
        for slot in slots:
            x[slot] = left
            left += widths[slot] + GAP_X


def draw(parents: Mapping[str, Sequence[str]], texts: Mapping[str, tuple[str, str, str]]) -> str:
    """Return the SVG.

    Args:
        parents: stages, parents first.
        texts: stage → (class of its box, second line, third line).
    """
    plan = layout(parents)
    parts = [
        f'<svg class="graph" viewBox="-4 -4 {plan.width + 8:.0f} {plan.height + 8:.0f}" '
        f'style="max-width:{plan.width + 8:.0f}px" role="img" aria-label="stages and what they need">'
    ]
    for points in plan.edges.values():
        parts.append(f'<path class="edge" d="{_curve(points)}"/>')
    for name, (left, top) in plan.boxes.items():
        kind, second, third = texts[name]
        lines = "".join(
            f'<text class="{style}" x="{left + 10:.1f}" y="{top + y}">{escape(_cut(text))}</text>'
            for style, y, text in (("name", 16, name), ("", 30, second), ("", 43, third))
        )
        parts.append(
            f'<g class="box {escape(kind)}" data-stage="{escape(name)}"><title>{escape(f"{name}: {second} {third}")}'
            f'</title><rect x="{left:.1f}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>{lines}</g>'
        )
    return "".join([*parts, "</svg>"])


def _curve(points: Sequence[Point]) -> str:
    """Return the path of a line: straight down past a row, an S between rows."""
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 == x1:
            path += f"L{x1:.1f},{y1:.1f}"
        else:
            half = (y0 + y1) / 2
            path += f"C{x0:.1f},{half:.1f} {x1:.1f},{half:.1f} {x1:.1f},{y1:.1f}"
    return path


def _cut(text: str, length: int = 31) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
