"""The bounds, and the relations between them that are asserted at import."""

from __future__ import annotations

import pytest

from coordinator import limits


def test_the_relations_hold() -> None:
    limits._assert_relations()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POLL_MAX_MS", 200),  # a waiter would miss its turn
        ("TRUST_PERCENT", 100),  # a holder would trust a lease that others may take
        ("WATCHED_PERCENT", 100),
        ("RENEW_PERCENT", 90),
        ("CHAIN_MAX", 40),
        ("RECORD_MAX_BYTES", 1024),  # XFS would refuse the longest
        ("RESOURCE_MAX_BYTES", 600),
        ("DOCUMENT_MAX_BYTES", 10**10),
    ],
)
def test_a_bound_that_breaks_a_relation_is_refused(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, name, value)
    with pytest.raises(AssertionError, match="contradicts itself"):
        limits._assert_relations()
