"""Who held what, and when faults struck: a line for each agent, as an SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from coordinator.stress.conduct import Run

_WIDTH: Final = 1200
_LEFT: Final = 110
_ROW: Final = 22
_COLOURS: Final = {
    "kill": "#c0392b",
    "freeze": "#7fb3d5",
    "full": "#e59866",
    "tear": "#8e44ad",
    "move": "#27ae60",
    "held": "#34495e",
    "saved": "#d4ac0d",
}
_TOLD: Final = {
    "held": "lease held",
    "kill": "killed",
    "freeze": "frozen",
    "full": "disk full",
    "tear": "torn write",
    "move": "rule moved",
    "saved": "edited by hand",
}


def draw(run: Run) -> str:
    """The picture."""
    slots = sorted({name.partition(".")[0] for name in run.journals}, key=lambda name: (len(name), name))
    rows = {slot: 40 + _ROW * i for i, slot in enumerate(slots)}
    span_ns = max(run.ended_ns - run.began_ns, 1)

    def x_of(at_ns: int) -> float:
        share = (at_ns - run.began_ns) / span_ns
        return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - 20)

    height = 40 + _ROW * len(slots) + 60
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            'font-family="sans-serif" font-size="11">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="13">{escape(run.options.command)}</text>',
    ]
    for slot, y in rows.items():
        parts.append(f'<text x="10" y="{y + 13}">{escape(slot)}</text>')
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 20}" y1="{y + 9}" y2="{y + 9}" stroke="#e5e8e8"/>')
    for struck in run.struck:
        x_1, x_2, colour = x_of(struck.at_ns), x_of(struck.until_ns), _COLOURS[struck.kind]
        if struck.slot in rows:
            parts.append(_bar(x_1, x_2, rows[struck.slot], 18, colour))
        else:
            parts.append(_bar(x_1, x_1 + 2, 40, height - 100, colour))  # it struck all
    for name, lines in run.journals.items():
        y = rows[name.partition(".")[0]]
        for line in lines:
            if line["what"] == "held":
                parts.append(_bar(x_of(line["since"]), x_of(line["until"]), y + 5, 8, _COLOURS["held"]))
            elif line["what"] == "saved":
                parts.append(_bar(x_of(line["at"]), x_of(line["at"]), y + 3, 12, _COLOURS["saved"]))
    parts += _legend(height - 30, span_ns)
    return "\n".join([*parts, "</svg>", ""])


def _bar(x_1: float, x_2: float, y: float, height: float, colour: str) -> str:
    return f'<rect x="{x_1:.1f}" y="{y}" width="{max(x_2 - x_1, 1.5):.1f}" height="{height}" fill="{colour}"/>'


def _legend(y: float, span_ns: int) -> list[str]:
    parts, x = [], float(_LEFT)
    for kind, text in _TOLD.items():
        parts += [_bar(x, x + 10, y - 9, 10, _COLOURS[kind]), f'<text x="{x + 14:.0f}" y="{y}">{text}</text>']
        x += 30 + 7 * len(text)
    parts.append(f'<text x="{x + 20:.0f}" y="{y}">{span_ns / 1e9:.1f} s from left to right</text>')
    return parts
