"""Plots as SVG, written by hand: bars with whiskers, and lines on logarithmic axes.

A plotting library would be the heaviest dependency of the project, for two kinds of picture.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.runner import Spread

WIDTH: Final = 860
LABELS: Final = 300
FIGURES: Final = 110
ROW: Final = 30
TOP: Final = 46
OUR_COLOUR: Final = "#1f6f8b"
COLOURS: Final = (OUR_COLOUR, "#b5651d", "#6b6b6b", "#7a5195", "#4d7c3a", "#a23b3b")
LINE_HEIGHT: Final = 380
LEFT, RIGHT, BOTTOM = 80, 240, 56
DECADE: Final = 10.0
WIDE: Final = 30.0
"""Bars whose greatest and least median are further apart than this are drawn on a logarithmic scale."""


def number(value: float) -> str:
    """A figure with three digits that say something."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(2 - math.floor(math.log10(size)), 0)}f}"


def bars(title: str, unit: str, rows: Sequence[tuple[str, Spread]], *, ours: str) -> str:
    """Horizontal bars: the median, with a whisker from the least to the greatest."""
    top = max(figure.high for _, figure in rows) or 1.0
    least = min((figure.median for _, figure in rows if figure.median > 0), default=top)
    logarithmic = top / least > WIDE
    low = DECADE ** math.floor(math.log10(least) - 0.3) if logarithmic else 0.0
    room = WIDTH - LABELS - FIGURES

    def across(value: float) -> float:
        if not logarithmic:
            return room * value / top
        return room * max(math.log(max(value, low) / low), 0.0) / math.log(top / low)

    parts = []
    for place, (name, figure) in enumerate(rows):
        y = TOP + place * ROW
        middle = y + ROW / 2 - 4
        colour = OUR_COLOUR if name.startswith(ours) else "#9aa5ab"
        end = f"M{{:.1f}} {middle - 4:.1f}v8"
        width = max(across(figure.median), 1)
        left, right = LABELS + across(figure.low), LABELS + across(figure.high)
        parts += [
            _text(LABELS - 8, middle + 4, name, anchor="end"),
            f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>',
            f'<path d="M{left:.1f} {middle:.1f}H{right:.1f}{end.format(left)}{end.format(right)}" stroke="#222"/>',
            _text(right + 8, middle + 4, f"{number(figure.median)} {unit}".strip()),
        ]
    scale = "logarithmic scale" if logarithmic else ""
    return _picture(title, scale, TOP + len(rows) * ROW + 8, parts)


def lines(title: str, across: str, up: str, series: Mapping[str, Sequence[tuple[float, Spread]]]) -> str:
    """Lines on logarithmic axes, one colour a series, with a whisker at each point."""
    points = [point for line in series.values() for point in line]
    xs = [x for x, _ in points]
    x_low, x_high = min(xs), max(*xs, min(xs) * 1.01)
    y_low = DECADE ** math.floor(math.log10(max(min(figure.low for _, figure in points), 1e-9)))
    y_high = DECADE ** math.ceil(math.log10(max(*(figure.high for _, figure in points), y_low * 1.01)))

    def at_x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(value / x_low) / math.log(x_high / x_low)

    def at_y(value: float) -> float:
        part = math.log(max(value, y_low) / y_low) / math.log(y_high / y_low)
        return LINE_HEIGHT - BOTTOM - (LINE_HEIGHT - BOTTOM - TOP) * part

    parts = []
    step = y_low
    while step <= y_high * 1.001:
        parts.append(f'<path d="M{LEFT} {at_y(step):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, at_y(step) + 4, f"{step:,.10g}", anchor="end"))
        step *= DECADE
    for x in sorted(set(xs)):
        parts.append(f'<path d="M{at_x(x):.1f} {TOP}V{LINE_HEIGHT - BOTTOM}" stroke="#eee"/>')
        parts.append(_text(at_x(x), LINE_HEIGHT - BOTTOM + 18, f"{x:,.10g}", anchor="middle"))
    parts.append(
        _text((LEFT + WIDTH - RIGHT) / 2, LINE_HEIGHT - 14, f"{across} (both axes logarithmic)", anchor="middle")
    )
    for place, (name, line) in enumerate(series.items()):
        colour = COLOURS[place % len(COLOURS)]
        way = "L".join(
            f"{at_x(x):.1f} {at_y(figure.median):.1f}" for x, figure in sorted(line, key=lambda point: point[0])
        )
        parts.append(f'<path d="M{way}" stroke="{colour}" stroke-width="2" fill="none"/>')
        for x, figure in line:
            parts.append(f'<circle cx="{at_x(x):.1f}" cy="{at_y(figure.median):.1f}" r="3.5" fill="{colour}"/>')
            parts.append(f'<path d="M{at_x(x):.1f} {at_y(figure.low):.1f}V{at_y(figure.high):.1f}" stroke="{colour}"/>')
        parts.append(f'<rect x="{WIDTH - RIGHT + 16}" y="{TOP + place * 22}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(WIDTH - RIGHT + 34, TOP + 11 + place * 22, name))
    return _picture(title, up, LINE_HEIGHT, parts)


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(title: str, below: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12" fill="#222">'
    )
    shown = f'<text x="8" y="18" font-size="15" font-weight="bold">{escape(title)}</text>'
    under = f'<text x="8" y="34" fill="#666">{escape(below)}</text>' if below else ""
    background = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>'
    return "\n".join([head, background, shown, under, *parts, "</svg>"]) + "\n"
