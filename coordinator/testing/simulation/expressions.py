"""DynamoDB's expressions, as far as the library uses them; whatever else is refused loudly.

Conditions are clauses joined by ``AND``: ``attribute_exists(path)``, ``attribute_not_exists(path)``,
``begins_with(path, :value)``, and comparisons. Updates are sections ``SET``, ``REMOVE`` and ``ADD``; what is set is a
value, or ``list_append(path, :value)``. Held against DynamoDB itself by tests/engines/test_simulated_table.py.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable  # noqa: TC003 - a constant's type
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    Value = dict[str, Any]  # {"S": "text"}
    Item = dict[str, Value]
    Path = tuple[str | int, ...]

_TOKEN: Final = re.compile(r"\s*(?:([#:]?[A-Za-z_][A-Za-z0-9_]*)|(<>|<=|>=|[=<>(),.])|\[([0-9]+)\])")
_FUNCTIONS: Final = {"attribute_exists": 1, "attribute_not_exists": 1, "begins_with": 2}
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_SECTIONS: Final = frozenset({"SET", "REMOVE", "ADD"})


class UnknownExpression(Exception):
    """An expression that nobody taught to the simulated table."""


class Invalid(Exception):
    """DynamoDB would answer ValidationException."""


class Clause(NamedTuple):
    """A function or a comparison, and what it is applied to: paths, or ``:values``."""

    word: str
    operands: tuple[Path, ...]


class Change(NamedTuple):
    """One part of an update: ``word`` is SET, REMOVE, ADD, or APPEND for a list that is set to itself and more."""

    word: str
    path: Path
    value: str


class _Tokens:
    """A cursor over an expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._words: list[str | int] = []
        end = 0
        while text[end:].strip():
            found = _TOKEN.match(text, end)
            if found is None:
                raise UnknownExpression(text)
            self._words.append(int(found[3]) if found[3] else found[1] or found[2])
            end = found.end()
        self._words.append("")
        self._at = 0

    @property
    def word(self) -> str | int:
        return self._words[self._at]

    def take(self, *wanted: str) -> str | int:
        word = self._words[self._at]
        if wanted and word not in wanted:
            raise UnknownExpression(f"{word!r} in {self.text!r}, where {wanted} was looked for")
        self._at += 1
        return word

    def path(self) -> Path:
        """``a.#b[3]``, or a ``:value``."""
        first = self.take()
        if not isinstance(first, str) or not first or not (first[0] in "#:_" or first[0].isalpha()):
            raise UnknownExpression(f"{first!r} in {self.text!r}, where a name was looked for")
        parts: list[str | int] = [first]
        while self.word == "." or isinstance(self.word, int):
            parts.append(self.take() if isinstance(self.word, int) else self._name())
        return tuple(parts)

    def _name(self) -> str | int:
        self.take(".")
        return self.take()


@lru_cache(maxsize=512)
def condition_of(text: str) -> tuple[Clause, ...]:
    """The clauses of a condition, or of a condition on keys."""
    tokens, found = _Tokens(text), []
    while True:
        first = tokens.path()
        if first[0] in _FUNCTIONS and tokens.word == "(":
            word = str(first[0])
            tokens.take("(")
            operands = [tokens.path()]
            for _ in range(_FUNCTIONS[word] - 1):
                tokens.take(",")
                operands.append(tokens.path())
            tokens.take(")")
            found.append(Clause(word, tuple(operands)))
        else:
            found.append(Clause(str(tokens.take(*_COMPARISONS)), (first, tokens.path())))
        if tokens.take("AND", "") == "":
            return tuple(found)


@lru_cache(maxsize=512)
def update_of(text: str) -> tuple[Change, ...]:
    """The parts of an update."""
    tokens = _Tokens(text)
    found: list[Change] = []
    while tokens.word != "":
        section = str(tokens.take(*_SECTIONS))
        while True:
            found.append(_part(tokens, section))
            if tokens.word != ",":
                break
            tokens.take(",")
    return tuple(found)


def _part(tokens: _Tokens, section: str) -> Change:
    path = tokens.path()
    if section == "REMOVE":
        return Change(section, path, "")
    if section == "ADD":
        return Change(section, path, str(tokens.take()))
    tokens.take("=")
    word = str(tokens.take())
    if word != "list_append":
        if not word.startswith(":"):
            raise UnknownExpression(tokens.text)
        return Change(section, path, word)
    tokens.take("(")
    if tokens.path() != path:
        raise UnknownExpression(tokens.text)
    tokens.take(",")
    value = str(tokens.take())
    tokens.take(")")
    return Change("APPEND", path, value)


class Given:
    """The names and values that come with a request. Those that nothing mentions are refused, as DynamoDB does."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._names: dict[str, str] = request.get("ExpressionAttributeNames", {})
        self._values: dict[str, Value] = request.get("ExpressionAttributeValues", {})
        self._used: set[str] = set()

    def name(self, part: str | int) -> str | int:
        """What a part of a path stands for."""
        if isinstance(part, int) or part[0] != "#":
            return part
        self._used.add(part)
        if part not in self._names:
            raise Invalid(f"{part} is not given")
        return self._names[part]

    def value(self, word: str) -> Value:
        """What a ``:value`` is."""
        self._used.add(word)
        if word not in self._values:
            raise Invalid(f"{word} is not given")
        return self._values[word]

    def mention(self, *paths: Path | str) -> None:
        """Counts what these mention as used."""
        for path in paths:
            for part in (path,) if isinstance(path, str) else path:
                if isinstance(part, str) and part[:1] == ":":
                    self.value(part)
                else:
                    self.name(part)

    def refuse_unused(self) -> None:
        """Refuses names and values that no expression mentioned."""
        unused = (self._names.keys() | self._values.keys()) - self._used
        if unused:
            raise Invalid(f"unused in expressions: {sorted(unused)}")

    def find(self, item: Item | None, path: Path) -> Value | None:
        """What is at a path, or the ``:value`` that it is."""
        first = path[0]
        if isinstance(first, str) and first[0] == ":":
            return self.value(first)
        found: Any = {"M": item or {}}
        for part in path:
            name = self.name(part)
            if isinstance(name, int):
                inner = found.get("L", [])
                found = inner[name] if name < len(inner) else None
            else:
                found = found.get("M", {}).get(name)
            if found is None:
                return None
        return dict(found)


def holds(text: str, item: Item | None, given: Given) -> bool:
    """Whether a condition holds for what stands."""
    clauses = condition_of(text)
    for clause in clauses:
        given.mention(*clause.operands)
    return all(_is_true(clause, item, given) for clause in clauses)


def _is_true(clause: Clause, item: Item | None, given: Given) -> bool:
    operands = [given.find(item, path) for path in clause.operands]
    if clause.word == "attribute_exists":
        return operands[0] is not None
    if clause.word == "attribute_not_exists":
        return operands[0] is None
    one, other = operands
    if one is None or other is None:
        return clause.word == "<>"
    (kind, left), (other_kind, right) = next(iter(one.items())), next(iter(other.items()))
    if kind != other_kind:
        return clause.word == "<>"
    if clause.word == "begins_with":
        return bool(left.startswith(right))
    if kind == "N":
        left, right = int(left), int(right)
    elif kind not in {"S", "B"} and clause.word not in {"=", "<>"}:
        raise Invalid(f"{kind} cannot be compared")
    return bool(_COMPARISONS[clause.word](left, right))
