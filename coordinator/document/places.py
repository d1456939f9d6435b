"""JSON values looked at: whether two are equal, how much one weighs, how to name and show them in a sentence."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN_MAX: Final = 80
_NODE_BYTES: Final = 8


def pack(value: Any) -> bytes:
    """A value as JSON in few bytes. Two values that give the same bytes are written the same, with their keys in order.

    Raises:
        ValueError: It has no exact JSON form (TypeError the same).
    """
    import orjson  # noqa: PLC0415 - needed only here; a fifth of the time

    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits, or deeper than it goes
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def pointer_of(path: Iterable[Any]) -> str:
    """The JSON pointer (RFC 6901) of keys and indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def equal(one: Any, other: Any) -> bool:
    """Whether two values are equal as RFC 6902 has it: numbers by value (1 is 1.0), but true is not 1."""
    return bool(one == other) and _is_alike(one, other)


def _is_alike(one: Any, other: Any) -> bool:
    """Whether two values that Python holds equal are: it takes true for 1."""
    if isinstance(one, dict):
        return all(_is_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return all(map(_is_alike, one, other))
    return isinstance(one, bool) == isinstance(other, bool)


def same(one: Any, other: Any) -> bool:
    """Whether two values are written the same, but for the order of keys: 1 is not 1.0, nor 0.0 -0.0."""
    return bool(one == other) and _is_same(one, other)


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(_is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return all(map(_is_same, one, other))
    if type(one) is not type(other):
        return False
    return not isinstance(one, float) or math.copysign(1, one) == math.copysign(1, other)


def weight(value: Any, enough: int) -> int:
    """Roughly how many bytes a value takes as JSON; not counted further once there are more than enough."""
    total, rest = 0, [value]
    while rest and total <= enough:
        found = rest.pop()
        total += _NODE_BYTES
        if isinstance(found, str):
            total += len(found)
        elif isinstance(found, dict):
            total += sum(map(len, found))
            rest.extend(found.values())
        elif isinstance(found, list):
            rest.extend(found)
    return total


def shown(value: Any) -> str:
    """A value for a sentence: as JSON, shortened."""
    if isinstance(value, dict | list) and weight(value, 4 * _SHOWN_MAX) > 4 * _SHOWN_MAX:
        what = "an object with {} keys" if isinstance(value, dict) else "an array of {} elements"
        return what.format(f"{len(value):,}")
    if isinstance(value, str):
        value = value[: _SHOWN_MAX + 1]
    try:
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
