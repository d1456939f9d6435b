"""JSON in and out without altering what nobody changed.

Parsing is strict: text that another program would read differently is refused with its place, instead of being read in
one of the ways and written back so. Rendering follows the text it replaces: indentation, spaces, line ends, escapes.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from coordinator.errors import MalformedDocument

_INDENTED: Final = re.compile(rb"^[\[{](\r?\n)([ \t]+)\S")
_ESCAPED: Final = re.compile(rb"\\u(?!00[01][0-9a-fA-F])[0-9a-fA-F]{4}")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_BOM: Final = b"\xef\xbb\xbf"
DEPTH_MAX: Final = 500
_TOO_DEEP: Final = "nesting deeper than"
_INTEGER_MAX_BITS: Final = 14_280  # 4,298 digits: Python neither reads nor writes more than 4,300 by itself
_CHECKED_MAX: Final = 64


class Style(NamedTuple):
    """How a JSON text is laid out."""

    indent: str | None = "  "
    colon: str = ": "
    comma: str = ", "
    newline: str = "\n"
    ascii_only: bool = False
    ends_with_newline: bool = True
    bom: bool = False


def parse(data: bytes, resource: str) -> Any:
    """The value of a JSON text.

    Raises:
        MalformedDocument: Not UTF-8, not JSON, a key that stands twice in one object, NaN or infinity, a number that
            cannot be carried exactly, half a surrogate pair, or nesting deeper than 500. Says where.
    """
    try:
        text = data.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise _refusal(resource, f"byte {error.start}", "bytes that are not UTF-8") from None
    hooks = _Hooks(text, resource)
    try:
        value = json.loads(text, object_pairs_hook=hooks.pairs, parse_float=hooks.number, parse_constant=hooks.constant)
    except json.JSONDecodeError as error:
        raise _refusal(resource, f"line {error.lineno}, column {error.colno}", error.msg) from None
    except RecursionError:
        raise _refusal(resource, "its innermost value", f"{_TOO_DEEP} {DEPTH_MAX}") from None
    except ValueError as error:  # an integer of more digits than Python converts (sys.set_int_max_str_digits)
        raise _refusal(resource, "one of its numbers", str(error)) from None
    if is_deep(value):
        raise _refusal(resource, "its innermost value", f"{_TOO_DEEP} {DEPTH_MAX}")
    if _SURROGATE.search(text):
        refuse_unfaithful(value, resource)
    return value


def is_deep(value: Any, room: int = DEPTH_MAX) -> bool:
    """Whether a value is nested deeper than can be written.

    Args:
        value: What is looked at.
        room: How deep it may be where it is to stand.
    """
    level = [value] if isinstance(value, dict | list) else []
    while level and room > 0:
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        room -= 1
    return bool(level)


def _refusal(resource: str, where: str, what: str) -> MalformedDocument:
    return MalformedDocument(f"{resource!r} is not acceptable JSON: {what} at {where}", resource=resource, where=where)


class _Hooks:
    """What the parser asks at objects, numbers and names that are not JSON's."""

    def __init__(self, text: str, resource: str) -> None:
        self._text = text
        self._resource = resource

    def pairs(self, found: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(found)
        if len(value) < len(found):
            keys = [key for key, _ in found]
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            where = _place_of_duplicate(self._text, twice)
            raise _refusal(self._resource, where, f"the key {twice!r} stands twice in one object")
        return value

    def number(self, digits: str) -> float:
        value = float(digits)
        try:
            exact = math.isfinite(value) and Decimal(digits) == Decimal(repr(value))
        except InvalidOperation:  # an exponent beyond what decimals carry
            exact = False
        if not exact:
            where = _place(self._text, self._text.find(digits))
            raise _refusal(self._resource, where, f"the number {digits[:40]} cannot be carried exactly")
        return value

    def constant(self, name: str) -> float:
        raise _refusal(self._resource, _place(self._text, self._text.find(name)), f"{name} is no JSON number")


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"


def _place_of_duplicate(text: str, key: str) -> str:
    """Where the key stands the second time, if it stands just twice in the whole text; else the key alone."""
    written = json.dumps(key, ensure_ascii=False)
    first = text.find(written)
    second = text.find(written, first + 1)
    return _place(text, second) if second > 0 and text.find(written, second + 1) < 0 else f"key {key!r}"


def style_of(data: bytes | None) -> Style:
    """How a text is laid out; two-space indentation for none."""
    if not data:
        return Style()
    bom = data.startswith(_BOM)
    body = data.removeprefix(_BOM)
    ascii_only = body.isascii() and _ESCAPED.search(body) is not None
    ends = body.endswith(b"\n")
    indented = _INDENTED.match(body.lstrip())
    if body.strip() in {b"{}", b"[]"}:
        return Style(ends_with_newline=ends, bom=bom)
    if indented:
        newline, indent = (part.decode() for part in indented.groups())
        return Style(indent, ": ", ",", newline, ascii_only, ends, bom)
    spaced = b'": ' in body
    newline = "\r\n" if body.endswith(b"\r\n") else "\n"
    return Style(None, ": " if spaced else ":", ", " if spaced else ",", newline, ascii_only, ends, bom)


def render(
    value: Any, like: bytes | None, resource: str, *, reproducible: bool | None = None, parsed: bool = False
) -> bytes:
    """The JSON text of a value: what nobody changed comes out as it stands in the text that it replaces.

    Args:
        value: What is written.
        like: The text that it replaces.
        resource: For the message.
        reproducible: Whether ``like`` is written as an encoder writes it (``is_reproducible``); found out when None.
        parsed: All of the value was parsed or checked before: it is not looked through again.

    Raises:
        MalformedDocument: The value holds something that JSON has no exact word for. Says where, as a JSON pointer.
    """
    if not parsed:
        refuse_unfaithful(value, resource)
    style = style_of(like)
    if like and not (is_reproducible(like, resource) if reproducible is None else reproducible):
        from coordinator.document.json_spans import splice  # noqa: PLC0415 - few texts are laid out by hand

        try:
            parse(like, resource)
        except MalformedDocument:
            pass  # parts of it might be refused when they are read again: all that can be kept is its layout
        else:
            return (_BOM if style.bom else b"") + splice(like.removeprefix(_BOM).decode(), value, style).encode()
    return _render(value, style)


def is_reproducible(data: bytes, resource: str) -> bool:
    """Whether a text is, byte for byte, what an encoder makes of its value in the layout that it has.

    Args:
        data: The text.
        resource: For messages.
    """
    key = len(data), hash(data)
    known = _checked.get(key)
    if known is None:
        while len(_checked) >= _CHECKED_MAX:
            _checked.pop(next(iter(_checked)), None)
        known = _checked[key] = _is_reproducible(data, resource)
    return known


_checked: dict[tuple[int, int], bool] = {}


def _is_reproducible(data: bytes, resource: str) -> bool:
    import orjson  # noqa: PLC0415 - see _encode

    style = style_of(data)
    try:
        if _is_fast(style):  # what orjson would read otherwise than we do, it does not write so again
            return _render(orjson.loads(data.removeprefix(_BOM)), style) == data
        return _render(parse(data, resource), style) == data
    except (ValueError, MalformedDocument):
        return False


def _render(value: Any, style: Style) -> bytes:
    text = _encode(value, style)
    if style.newline != "\n":
        text = text.replace(b"\n", style.newline.encode())
    if style.ends_with_newline:
        text += style.newline.encode()
    return _BOM + text if style.bom else text


def _is_fast(style: Style) -> bool:
    return style.indent in {"  ", None} and not style.ascii_only and style.colon == (": " if style.indent else ":")


def _encode(value: Any, style: Style) -> bytes:
    if _is_fast(style):
        import orjson  # noqa: PLC0415 - needed only here; 0.3 ms for 1.5 MB, json with indentation 15 ms

        try:
            return orjson.dumps(value, option=orjson.OPT_INDENT_2 if style.indent else 0)
        except orjson.JSONEncodeError:
            pass  # an integer beyond 64 bits: the standard library carries it
    return json.dumps(
        value,
        ensure_ascii=style.ascii_only,
        allow_nan=False,
        indent=style.indent,
        separators=(style.comma if style.indent is None else ",", style.colon),
    ).encode()


def refuse_unfaithful(value: Any, resource: str, room: int = DEPTH_MAX) -> None:
    """Refuses what would be written as something else: NaN, keys that are not text, objects, half a surrogate pair.

    Args:
        value: What is looked at.
        resource: For the message.
        room: How deep it may be nested.

    Raises:
        MalformedDocument: Says what and where, as a JSON pointer.
    """
    flaw = _unfaithful(value, room)
    if flaw:
        what, *parts = flaw
        what += f" {room}" if what == _TOO_DEEP else ""
        where = "".join(reversed(parts)) or "the top"
        raise MalformedDocument(
            f"{resource!r} cannot be written as JSON: {what} at {where}", resource=resource, where=where
        )


def _unfaithful(value: Any, room: int) -> tuple[str, ...]:
    """What is wrong in a value, and the parts of the pointer that leads there, innermost first; empty if nothing."""
    what = _problem_with(value, room)
    if what:
        return (what,)
    if isinstance(value, dict):
        for key, inner in value.items():
            if type(inner) is str and inner.isascii():  # by far the most
                continue
            flaw = _unfaithful(inner, room - 1)
            if flaw:
                return (*flaw, "/" + key.replace("~", "~0").replace("/", "~1"))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            flaw = _unfaithful(inner, room - 1)
            if flaw:
                return (*flaw, f"/{i}")
    return ()


def _problem_with(value: Any, room: int) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return "" if value.isascii() or _is_unicode(value) else "text with half a surrogate pair"
    if isinstance(value, int | float):
        return _problem_with_number(value)
    if room <= 0:
        return _TOO_DEEP
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str) or not (key.isascii() or _is_unicode(key))]
        return f"the key {wrong[0]!r} is not text" if wrong else ""
    return "" if isinstance(value, list | tuple) else f"{type(value).__name__} has no JSON form"


def _problem_with_number(number: float) -> str:
    if isinstance(number, int):
        return "" if number.bit_length() <= _INTEGER_MAX_BITS else "an integer of more than 4,298 digits"
    return "" if math.isfinite(number) else f"{number} is no JSON number"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
