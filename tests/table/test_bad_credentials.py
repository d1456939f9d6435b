"""A table that may not be used: credentials and policies, of which each error says what is missing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from engines.faults import EXPIRED, PASS, Denied, Script, error
from support import wait_until
from table_support import ID, NAME, RESOURCE, Table, init, unusable

from coordinator import Workspace
from coordinator.errors import LeaseLost, TableUnusable
from coordinator.record.table_setup import check_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from engines import Engine
    from engines.faults import Fault
    from engines.fixtures import ProxyFactory
    from engines.proxy import FaultProxy


@pytest.fixture
def table(dynamodb: Engine) -> Table:
    return Table.made(dynamodb)


@pytest.fixture
def used(table: Table) -> Table:
    """A lease was acquired and released there, and another one is held."""
    workspace = table.open()
    with workspace.lease(NAME):
        pass
    workspace.lease("held", ttl=600)
    return table


@pytest.fixture
def way(table: Table, fault_proxy: ProxyFactory) -> FaultProxy:
    """A proxy, whose plan says what the table answers."""
    return fault_proxy(table.engine)


def answering(fault: Fault) -> Callable[..., Fault]:
    return lambda _number, _operation, _body: fault


def without(*variables: str, **others: str) -> dict[str, str]:
    return dict.fromkeys(variables, "") | others


KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize(
    ("variables", "cause", "hint"),
    [
        (without(*KEYS), "^NoCredentialsError", "AWS_PROFILE.*AWS_ACCESS_KEY_ID.*role"),
        (without(KEYS[1]), "^PartialCredentialsError", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together"),
        (without(AWS_PROFILE="nobody"), "^ProfileNotFound.*nobody", "AWS_PROFILE names a profile that is not in"),
        (without("AWS_REGION", "AWS_DEFAULT_REGION"), "^NoRegionError", "AWS_REGION=…, or Workspace"),
        (without(AWS_DEFAULT_REGION="eu west"), "^InvalidRegionError", "eu-west-1"),
    ],
)
def test_an_environment_that_lacks_something(
    table: Table, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], cause: str, hint: str
) -> None:
    with table.unchanged(), monkeypatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value) if value else patch.delenv(variable)
        with pytest.raises(TableUnusable) as refused:
            Workspace(table=table.name, workspace=ID)
    unusable(refused, table.name, cause, hint)


def of_credentials(code: str, message: str) -> Fault:
    return error(400, code, message, "com.amazon.coral.service")


CREDENTIALS: Final = [
    EXPIRED,
    of_credentials("UnrecognizedClientException", "The security token included in the request is invalid."),
    of_credentials(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.",
    ),
    of_credentials("MissingAuthenticationTokenException", "Request is missing Authentication Token"),
]


@pytest.mark.parametrize("fault", CREDENTIALS, ids=lambda fault: fault.name)
def test_credentials_that_are_refused(table: Table, way: FaultProxy, fault: Fault) -> None:
    workspace = table.open(through=table.engine.at(way.endpoint_url))
    lease = workspace.lease(NAME)
    way.plan = answering(fault)
    attempts: list[Callable[[], Any]] = [
        lambda: table.open(through=table.engine.at(way.endpoint_url)),
        lambda: workspace.lease("another"),
        lease.check,
        lease.renew,
        lease.release,
    ]
    with table.unchanged():
        for attempt in attempts:
            with pytest.raises(TableUnusable) as refused:
                attempt()
            unusable(refused, table.name, f"^{fault.name}: ", "credentials are wrong or have expired")
    way.plan = answering(PASS)
    lease.release()


def test_a_host_whose_clock_is_wrong_is_told_so(table: Table, way: FaultProxy) -> None:
    way.plan = answering(
        of_credentials(
            "InvalidSignatureException",
            "Signature expired: 20261123T120000Z is now earlier than 20261123T123500Z (20261123T124000Z - 5 min.)",
        )
    )
    with pytest.raises(TableUnusable) as refused:
        table.open(through=table.engine.at(way.endpoint_url))
    unusable(refused, table.name, "Signature expired", "clock")


def test_the_bodys_own_error_comes_out_when_the_lease_cannot_be_released(table: Table, way: FaultProxy) -> None:
    workspace = table.open(through=table.engine.at(way.endpoint_url))

    def fail_under(held: AbstractContextManager[object]) -> None:
        with held:
            way.plan = answering(EXPIRED)
            raise ZeroDivisionError

    for acquire in (lambda: workspace.lease(NAME), lambda: workspace.lease_many(["a", "b"])):
        way.plan = answering(PASS)
        held = acquire()
        with pytest.raises(ZeroDivisionError):
            fail_under(held)


def test_of_several_leases_each_is_tried_to_be_released(table: Table, way: FaultProxy) -> None:
    held = table.open(through=table.engine.at(way.endpoint_url)).lease_many(["a", "b", "c"])
    way.plan = Script("UpdateItem", [EXPIRED])

    def leave() -> None:
        with held:
            pass

    with pytest.raises(TableUnusable):
        leave()
    assert [status.resource for status in table.open().status() if status.holder] == ["c"]


def test_renewing_in_the_background_outlives_credentials_that_come_back(table: Table, way: FaultProxy) -> None:
    """They are rotated: what one request was refused for, a later one has."""
    workspace = table.open(through=table.engine.at(way.endpoint_url))
    lost: list[LeaseLost] = []
    with workspace.lease(NAME, ttl=2, renew_in_background=True, on_lost=lost.append) as lease:
        before = lease._record.n
        way.plan = answering(EXPIRED)
        wait_until(lambda: way.counts[EXPIRED.name] >= 1)
        way.plan = answering(PASS)
        wait_until(lambda: lease._record.n > before or bool(lost), 5)
        assert lost == []


def policy_line(refused: TableUnusable) -> dict[str, str]:
    prefix, _, line = refused.hint.partition(": ")
    assert prefix == "add to the policy"
    parsed: dict[str, str] = json.loads(line)
    return parsed


ALLOWED_BUT: Final[dict[str, list[tuple[str, Callable[[Table, Engine], object]]]]] = {
    "GetItem": [
        ("opening it", lambda table, by: table.open(through=by)),
        ("reading", lambda table, by: table.store(through=by).read(RESOURCE)),
    ],
    "PutItem": [
        ("making a workspace", lambda table, by: init(table, by, "another")),
        ("archiving", lambda table, by: table.store(through=by).archive.put(RESOURCE, 0, ["a"], 1)),
    ],
    "UpdateItem": [
        ("leasing", lambda table, by: table.open(through=by).lease(NAME)),
        ("leasing what is new", lambda table, by: table.open(through=by).lease("new")),
        ("leasing several", lambda table, by: table.open(through=by).lease_many([NAME, "new"])),
    ],
    "ConditionCheckItem": [("leasing what is new", lambda table, by: table.open(through=by).lease("new"))],
    "Query": [
        ("history", lambda table, by: table.open(through=by).history(NAME)),
        ("status", lambda table, by: table.open(through=by).status()),
    ],
    "DescribeTable": [("table check", lambda table, by: check_table(table.calls(by)))],
}


@pytest.mark.parametrize(
    ("action", "attempt"),
    [(action, attempt) for action, attempts in ALLOWED_BUT.items() for _, attempt in attempts],
    ids=[f"{action}-{about}" for action, attempts in ALLOWED_BUT.items() for about, _ in attempts],
)
def test_one_action_that_is_not_allowed(
    used: Table, way: FaultProxy, action: str, attempt: Callable[[Table, Engine], object]
) -> None:
    way.plan = Denied(frozenset({action}))
    with used.unchanged(), pytest.raises(TableUnusable) as refused:
        attempt(used, used.engine.at(way.endpoint_url))
    unusable(refused, used.name, "^AccessDeniedException: User: arn:aws:sts::.* is not authorized", "add to the policy")
    assert policy_line(refused.value) == {
        "Effect": "Allow",
        "Action": f"dynamodb:{action}",
        "Resource": f"arn:aws:dynamodb:eu-central-1:123456789012:table/{used.name}",
    }


WHO: Final = "User: arn:aws:sts::123456789012:assumed-role/agent/session is not authorized to perform: "
WHAT: Final = "dynamodb:GetItem on resource: arn:aws:dynamodb:eu-central-1:123456789012:table/fleet "


@pytest.mark.parametrize(
    "because",
    [
        "with an explicit deny in an identity-based policy",
        "with an explicit deny in a service control policy",
        "because no service control policy allows the dynamodb:GetItem action",
        "because no VPC endpoint policy allows the dynamodb:GetItem action",
        "because no permissions boundary allows the dynamodb:GetItem action",
    ],
)
def test_a_line_in_the_roles_policy_is_not_advised_where_it_does_not_help(
    table: Table, way: FaultProxy, because: str
) -> None:
    way.plan = answering(error(400, "AccessDeniedException", WHO + WHAT + because, "com.amazon.coral.service"))
    with pytest.raises(TableUnusable) as refused:
        table.open(through=table.engine.at(way.endpoint_url))
    unusable(refused, table.name, because, re.search(r"(\S+ \S+) policy|boundary", because)[0])  # type: ignore[index]
    assert not refused.value.hint.startswith("add to the policy: ")


def test_a_key_that_may_not_be_used_is_what_is_advised(table: Table, way: FaultProxy) -> None:
    key = "kms:Decrypt on resource: arn:aws:kms:eu-central-1:123456789012:key/1234abcd "
    because = "because no identity-based policy allows the kms:Decrypt action"
    way.plan = answering(error(400, "AccessDeniedException", WHO + key + because, "com.amazon.coral.service"))
    with pytest.raises(TableUnusable) as refused:
        table.open(through=table.engine.at(way.endpoint_url))
    assert policy_line(refused.value) == {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": "arn:aws:kms:eu-central-1:123456789012:key/1234abcd",
    }
