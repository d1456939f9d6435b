"""Calls to DynamoDB: one client, short time-outs, bounded retries, and what each error means to the caller.

botocore (boto3's core) is loaded with the first call: it and a client take some 150 ms. Its own retries are off: a call
here is tried until it succeeds, is refused, or its budget is used up, whoever's lease it is for; and an error after
which a write may have landed is told apart from one that came before it (``outcome_unknown``).

Every answer carries the service's date, whose resolution is a second: table_time.py makes the store's clock of it.
"""

from __future__ import annotations

import os
import random
import re
import threading
from typing import TYPE_CHECKING, Any, Final

from coordinator.clock import elapsed_max_ms
from coordinator.errors import BadValue, TableUnusable
from coordinator.limits import (
    TABLE_CONNECT_MS,
    TABLE_PAUSE_MAX_MS,
    TABLE_PAUSE_MIN_MS,
    TABLE_READ_MS,
)
from coordinator.record.table_errors import NOT_NOW, is_of_the_network, may_have_landed, refuse_cut_reply, told
from coordinator.record.table_time import ServiceTime

if TYPE_CHECKING:
    from coordinator.clock import Clock
    from coordinator.errors import CoordinatorError

_SERVER_ERROR: Final = 500
_ARN: Final = re.compile(r"arn:[a-z-]+:dynamodb:[a-z0-9-]+:[0-9]+:table/[A-Za-z0-9_.-]+")


_READS: Final = frozenset({"get_item", "query", "describe_table", "describe_continuous_backups"})


class ConditionFailed(Exception):
    """The item is not as the condition has it. ``item``: what it is, where the engine tells (AWS does)."""

    def __init__(self, item: dict[str, Any] | None) -> None:
        super().__init__()
        self.item = item


class TransactionCanceled(Exception):
    """One of several writes was refused, so none was made. ``reasons``: of each, a code and the item if it is told."""

    def __init__(self, reasons: list[tuple[str, dict[str, Any] | None]]) -> None:
        super().__init__()
        self.reasons = reasons


class TableCalls:
    """One table. Thread-safe; a forked child makes a client of its own.

    Args:
        table: Its name, or its ARN.
        clock: This machine's clocks.
        region: Default: the environment's.
        client: A boto3 DynamoDB client, or a callable that makes one; default: made from the environment. A client that
            is passed in cannot be used in a forked child: its connections are the parent's.
    """

    def __init__(self, table: str, clock: Clock, *, region: str | None = None, client: Any = None) -> None:
        if not table or (table.startswith("arn:") and not _ARN.fullmatch(table)):
            raise BadValue(
                f"{table!r} is no table name, and no ARN of a table",
                argument="table",
                value=table,
                hint="like coordinator, or arn:aws:dynamodb:eu-west-1:123456789012:table/coordinator",
            )
        self.table = table
        self._region = region or (table.split(":")[3] if table.startswith("arn:") else None)
        self._clock = clock
        self._given = client
        self._client = None if callable(client) else client
        self._watched: Any = None  # the client whose replies are looked at before they are believed
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self.time = ServiceTime(clock)

    def after_fork(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._guard = threading.Lock()
        self.time = ServiceTime(self._clock)

    # ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def client(self) -> Any:
        """The boto3 client; made at the first use, and anew in a forked child."""
        if self._client is None or self._pid != os.getpid():
            with self._guard:
                if self._client is None or self._pid != os.getpid():
                    self._client, self._pid = self._fresh(), os.getpid()
        if self._watched is not self._client:
            self._client.meta.events.register("before-parse.dynamodb", refuse_cut_reply, unique_id=__name__)
            self._watched = self._client
        return self._client

    def _fresh(self) -> Any:
        if self._given is None:
            return self._made()
        if callable(self._given):
            return self._given()
        raise BadValue(
            "the client that was passed in belongs to the parent process",
            argument="client",
            value="client",
            hint="pass a function that makes a client, or open the workspace in the child",
        )

    def _made(self) -> Any:
        try:
            # boto3's client is this one of its core; going through boto3 costs 20 ms more, of resources and transfers.
            from botocore.config import Config  # noqa: PLC0415 - 130 ms that only a table needs
            from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - likewise
            from botocore.session import Session  # noqa: PLC0415 - likewise
        except ImportError as missing:
            raise TableUnusable(
                f"the table {self.table!r} needs boto3, which is not installed",
                table=self.table,
                cause=str(missing),
                hint="pip install 'agent-coordinator[aws]'",
            ) from None
        config = Config(
            connect_timeout=TABLE_CONNECT_MS / 1000,
            read_timeout=TABLE_READ_MS / 1000,
            retries={"total_max_attempts": 1, "mode": "standard"},
            tcp_keepalive=True,
            max_pool_connections=32,
            parameter_validation=False,  # requests are of few shapes, and the service looks at them too
        )
        try:
            # A session of its own: boto3's is shared with the program, and not safe to make a client of in two threads.
            return Session().create_client("dynamodb", region_name=self._region, config=config)
        except (BotoCoreError, ValueError) as error:
            raise self._told(error, "the client", landed=False) from None

    # ── calling ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def call(self, action: str, about: str, budget_ms: int, **request: Any) -> dict[str, Any]:
        """One request, tried until it is answered or the budget is used up.

        Args:
            action: The client's method, like ``update_item``.
            about: What it is for, for messages.
            budget_ms: No further try is begun after so long. One try takes TABLE_CONNECT_MS + TABLE_READ_MS at most.
            request: Its arguments; the table's name is added.

        Raises:
            ConditionFailed, TransactionCanceled: Refused by what stands in the table.
            TableUnusable: A person has to act: says what to do.
            StoreUnavailable: ``outcome_unknown`` when a write may have landed.
        """
        if action != "transact_write_items":
            request["TableName"] = self.table
        method, began = getattr(self.client, action), self._clock.now()
        landed, pause_ms = False, TABLE_PAUSE_MIN_MS
        while True:
            sent = self._clock.now()
            try:
                answer: dict[str, Any] = method(**request)
            except Exception as error:
                self._note_date(getattr(error, "response", None), sent)
                self._raise_if_answered(error, about, landed=landed)
                landed = landed or may_have_landed(error)
                if elapsed_max_ms(began, self._clock.now()) + pause_ms >= budget_ms:
                    raise self._told(error, about, landed=landed and action not in _READS) from error
            else:
                self._note_date(answer, sent)
                return answer
            self._clock.pause(pause_ms * random.uniform(0.5, 1.0))
            pause_ms = min(pause_ms * 2, TABLE_PAUSE_MAX_MS)

    def _note_date(self, answer: dict[str, Any] | None, sent: Any) -> None:
        if answer is None:
            return  # no answer came
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        self.time.note(headers.get("date", ""), sent, self._clock.now())

    def is_here(self) -> bool:
        """Whether the engine runs on this machine, so that its clock is this machine's."""
        endpoint = str(self.client.meta.endpoint_url)
        return re.match(r"https?://(localhost|127\.[0-9.]+|\[::1\])(:|/|$)", endpoint) is not None

    def _raise_if_answered(self, error: Exception, about: str, *, landed: bool) -> None:
        """Raises what an error means, unless it means: try again."""
        answer = getattr(error, "response", None)
        if not isinstance(answer, dict):
            if not is_of_the_network(error):
                raise self._told(error, about, landed=landed) from error
            return
        code = str(answer.get("Error", {}).get("Code", ""))
        if code == "ConditionalCheckFailedException":
            raise ConditionFailed(answer.get("Item")) from None
        if code == "TransactionCanceledException":
            reasons = [(one.get("Code", ""), one.get("Item")) for one in answer.get("CancellationReasons", [])]
            if any(reason == "ValidationError" for reason, _ in reasons):
                raise self._told(error, about, landed=landed) from error
            if any(reason == "ConditionalCheckFailed" for reason, _ in reasons):
                raise TransactionCanceled(reasons) from None
            return  # a conflict with another transaction, or throttled: nothing was written
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # (a code of digits only is a refusal whose text was lost: what it said is not known)
        if code not in NOT_NOW and status < _SERVER_ERROR and not code.isdecimal():
            raise self._told(error, about, landed=landed) from error

    def _told(self, error: Exception, about: str, *, landed: bool) -> CoordinatorError:
        region = self._region or str(getattr(getattr(self._client, "meta", None), "region_name", "") or "")
        return told(error, about, self.table, region, outcome_unknown=landed)
