"""Operations as lines of text: what was under way at once, to be seen at a glance.

    a write 1     |----|            #1
    b read -> 2     |------|        <- no place
    c write 2          |-- - - -    #2

Not to scale: every instant at which something begins or ends is one step to the right.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_LABEL_MAX: Final = 40
_WIDTH_MAX: Final = 64
_OPEN: Final = "- "  # behind what never ended


class Bar(NamedTuple):
    """One line.

    Attributes:
        label: What stands before it.
        begin: When it began.
        end: When it ended; None: it did not.
        note: What stands behind it.
    """

    label: str
    begin: int
    end: int | None
    note: str


def drawn(bars: list[Bar]) -> list[str]:
    """The bars below each other, in the order given."""
    if not bars:
        return []
    instants = sorted({bar.begin for bar in bars} | {bar.end for bar in bars if bar.end is not None})
    step = max(2, min(4, _WIDTH_MAX // len(instants)))
    column = {instant: place * step for place, instant in enumerate(instants)}
    width = len(instants) * step
    labels = [bar.label if len(bar.label) <= _LABEL_MAX else f"{bar.label[: _LABEL_MAX - 1]}…" for bar in bars]
    label_width = max(map(len, labels))
    lines = []
    for label, bar in zip(labels, bars, strict=True):
        begin = column[bar.begin]
        if bar.end is None:
            line = f"|--{_OPEN * width}"[: width - begin]
        elif bar.end == bar.begin:
            line = "|"
        else:
            line = f"|{'-' * (column[bar.end] - begin - 1)}|"
        lines.append(f"{label:<{label_width}}  {' ' * begin}{line:<{width - begin}}  {bar.note}".rstrip())
    return lines
