"""Frames: never a wrong payload, whatever happens to the bytes; and what happened is told apart."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import BadValue
from coordinator.limits import FRAME_MAX_BYTES
from coordinator.log import frame
from coordinator.log.frame import CUT, NUL, encode, has_valid_after, scan

PAYLOADS: Final = [b'{"open":{"version":1}}', b'{"seq":1,"op":"a @ P"}', b'{"seq":2,"op":{"n":[1,{}]}}', b'{"seq":3}']


def log_of(payloads: list[bytes]) -> tuple[bytes, list[int]]:
    """The bytes, and the end of each frame."""
    data, ends, chain = b"", [], 0
    for payload in payloads:
        line, chain = encode(payload, chain)
        data += line
        ends.append(len(data))
    return data, ends


LOG, ENDS = log_of(PAYLOADS)


def whole_before(place: int) -> int:
    return sum(end <= place for end in ENDS)


def test_the_example_in_the_documentation_is_one() -> None:
    lines = re.findall(r"^    (C1 .*\})$", frame.__doc__ or "", re.MULTILINE)
    assert len(lines) == 3
    chain = int(lines[0].split()[3], 16)
    found = scan("".join(f"{line}\n" for line in lines[1:]).encode(), chain)
    assert (len(found.payloads), found.stop) == (2, "")


payload_texts = st.text(max_size=30).map(lambda text: b'{"t":"%b"}' % text.encode("utf-8", "ignore").hex().encode())


@given(st.lists(payload_texts, max_size=8), st.data())
def test_what_is_encoded_is_scanned_and_cut_anywhere_is_a_beginning(payloads: list[bytes], data: st.DataObject) -> None:
    text, ends = log_of(payloads)
    found = scan(text, 0)
    assert (found.payloads, found.ends, found.stop) == (payloads, ends, "")
    cut = data.draw(st.integers(0, len(text)))
    found = scan(text[:cut], 0)
    whole = sum(end <= cut for end in ends)
    assert found.payloads == payloads[:whole]
    assert found.stop == ("" if cut in {0, *ends} else CUT)
    again = scan(text[found.ends[-1] if found.ends else 0 :], found.chain)
    assert found.payloads + again.payloads == payloads


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    found = scan(LOG + data, 0)
    assert found.payloads[: len(PAYLOADS)] == PAYLOADS
    assert len(found.payloads) == len(PAYLOADS)
    has_valid_after(data, 0)


def test_truncation_at_every_byte_is_a_write_in_flight() -> None:
    for cut in range(len(LOG)):
        found = scan(LOG[:cut], 0)
        assert found.payloads == PAYLOADS[: whole_before(cut)]
        assert found.stop == ("" if cut in {0, *ENDS} else CUT)


@pytest.mark.parametrize("kind", ["bits", "bytes"])
def test_an_altered_byte_is_damage_wherever_it_is(kind: str) -> None:
    for place, was in enumerate(LOG):
        others = [was ^ (1 << bit) for bit in range(8)] if kind == "bits" else [ord("0"), ord("\n"), ord("{"), 0xFF]
        for other in set(others) - {was}:
            data = LOG[:place] + bytes([other]) + LOG[place + 1 :]
            found = scan(data, 0)
            assert found.payloads == PAYLOADS[: whole_before(place)]
            done = found.ends[-1] if found.ends else 0
            if place < ENDS[-2] - 1:  # the newline before the last frame is part of what it makes unreadable
                assert has_valid_after(data, done)
            assert found.stop in ({NUL} if other == 0 else {"form", "length", "crc", "chain"}), (place, other)


def test_nul_bytes_are_a_hole_wherever_they_are() -> None:
    for start in range(len(LOG)):
        for end in range(start + 1, len(LOG) + 1):
            data = LOG[:start] + bytes(end - start) + LOG[end:]
            found = scan(data, 0)
            assert found.payloads == PAYLOADS[: whole_before(start)]
            assert found.stop == NUL
            done = found.ends[-1] if found.ends else 0
            assert has_valid_after(data, done) == (end <= ENDS[-2])


def test_bytes_taken_out_are_noticed() -> None:
    for start in range(len(LOG)):
        for end in range(start + 1, len(LOG) + 1):
            data = LOG[:start] + LOG[end:]
            same = next((i for i, (one, other) in enumerate(zip(LOG, data, strict=False)) if one != other), len(data))
            found = scan(data, 0)
            assert found.payloads == PAYLOADS[: whole_before(same)]
            if len(data) > same:
                assert found.stop != ""
                assert found.stop != CUT or same >= ENDS[-2] or b"\n" not in data[found.ends[-1] if found.ends else 0 :]
            else:
                assert found.stop in {"", CUT}


def test_lines_swapped_dropped_or_repeated_are_out_of_the_chain() -> None:
    lines = LOG.splitlines(keepends=True)
    for one in range(len(lines)):
        for other in range(one + 1, len(lines)):
            swapped = list(lines)
            swapped[one], swapped[other] = lines[other], lines[one]
            found = scan(b"".join(swapped), 0)
            assert (found.payloads, found.stop) == (PAYLOADS[:one], "chain")
    for one in range(len(lines) - 1):
        found = scan(b"".join(lines[:one] + lines[one + 1 :]), 0)
        assert (found.payloads, found.stop) == (PAYLOADS[:one], "chain")
    for one in range(len(lines)):
        found = scan(b"".join(lines[: one + 1] + lines[one:]), 0)
        assert (found.payloads, found.stop) == (PAYLOADS[: one + 1], "chain")


def test_two_writers_in_one_file_are_out_of_the_chain() -> None:
    others = [payload.replace(b"seq", b"SEQ").replace(b":1}}", b":2}}") for payload in PAYLOADS]
    lines, strange = LOG.splitlines(keepends=True), log_of(others)[0].splitlines(keepends=True)
    for turn in range(1, 4):
        found = scan(b"".join(lines[:turn] + strange[turn:]), 0)
        assert (found.payloads, found.stop) == (PAYLOADS[:turn], "chain")


def test_a_chain_goes_on_from_the_one_before() -> None:
    first = scan(LOG[: ENDS[1]], 0)
    assert scan(LOG[ENDS[1] :], first.chain).payloads == PAYLOADS[2:]
    assert scan(LOG[ENDS[1] :], first.chain ^ 1).stop == "chain"
    assert scan(LOG[ENDS[1] :], 0) == ([], [], 0, "chain")


@pytest.mark.parametrize(
    ("line", "stop"),
    [
        (b"C1 %d 00000000 00000000 {" % (FRAME_MAX_BYTES + 1), "length"),
        (b"C1 9999999 00000000 00000000 {}\n", "length"),
        (b"C1 02 00000000 00000000 {}\n", "form"),
        (b"C1 2 0000000A 00000000 {}\n", "form"),
        (b"C2 2 00000000 00000000 {}\n", "form"),
        (b"C1 2 00000000 00000000 []\n", "form"),
        (b"C1 2 00000000 00000000 {}\n", "crc"),
        (b"C1 2 00000000 00000000 {}x", "length"),
        (b"hello", "form"),
        (b"\n", "form"),
        (b"\r\n", "form"),
        (b"C", CUT),
        (b"C1 12", CUT),
        (b"C1 12 0123abcd 0123", CUT),
        (b"C1 12 0123abcd 0123abcd ", CUT),
        (b"C1 12 0123abcd 0123abcd x", "form"),
    ],
)
def test_what_is_wrong_is_named(line: bytes, stop: str) -> None:
    assert scan(LOG + line, 0) == (PAYLOADS, ENDS, scan(LOG, 0).chain, stop)


def test_a_head_written_another_way_is_no_frame() -> None:
    """One form of each frame: whoever reads by another way of reading must not see more."""
    payload = b'{"a":1}'
    line, _ = encode(payload, 0)
    for other in (line.replace(b"C1 7", b"C1 07"), line.upper(), line.replace(b" ", b"  "), line[:-1] + b"\r\n"):
        if other != line:
            assert scan(other, 0).payloads == []


def test_the_longest_frame() -> None:
    payload = b'{"a":"' + b"x" * (FRAME_MAX_BYTES - 8) + b'"}'
    line, _ = encode(payload, 0)
    assert scan(line, 0).payloads == [payload]
    assert len(line) <= frame.LINE_MAX_BYTES
    with pytest.raises(BadValue, match="too long"):
        encode(payload + b" ", 0)


def test_a_longer_frame_than_any_is_none_though_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    line, _ = encode(b'{"a":12}', 0)
    monkeypatch.setattr(frame, "FRAME_MAX_BYTES", 7)
    assert scan(line, 0) == ([], [], 0, "length")


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"{ }", b'{"a":\n1}', b'{"a":"\0"}', b'"a"'])
def test_what_is_no_compact_object_is_refused(payload: bytes) -> None:
    with pytest.raises(BadValue):
        encode(payload, 0)


def test_a_frame_quoted_in_a_frame_is_not_one() -> None:
    inner, _ = encode(b'{"a":1}', 0)
    outer, _ = encode(b'{"b":"' + inner[:-1].replace(b'"', b'\\"') + b'"}', 0)
    assert not has_valid_after(outer, 1)
    assert not has_valid_after(outer[:-1] + b"\0\n", 1)
