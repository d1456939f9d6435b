"""B3: a fresh process takes and releases a lease in a DynamoDB table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.engine import our_table
from benchmarks.fresh import fresh_seconds
from benchmarks.runner import OURS, Case, Metric, Side, Target, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.runner import Options

BARE = "boto3 client, two conditional writes"
MODELS = "the same with pydantic models"
OUR_PROGRAM = """
from coordinator import Workspace
with Workspace(table="bench", workspace="bench", agent="fresh").lease("fresh"):
    pass
"""
_BARE = """
import boto3
client = boto3.client("dynamodb")
key = {"pk": {"S": "peer"}, "sk": {"S": "fresh"}}
client.get_item(TableName="bench", Key=key, ConsistentRead=True)
for holder, before in (("me", "free"), ("free", "me")):
    client.update_item(TableName="bench", Key=key, UpdateExpression="SET holder = :holder",
        ConditionExpression="attribute_not_exists(holder) OR holder = :before",
        ExpressionAttributeValues={":holder": {"S": holder}, ":before": {"S": before}})
"""
_MODELS = (
    """
import pydantic
class Lease(pydantic.BaseModel):
    holder: str
    ttl: float
class Record(pydantic.BaseModel):
    lease: Lease
Record(lease={"holder": "me", "ttl": 30}).model_dump_json()
"""
    + _BARE
)


def trials(options: Options) -> Sequence[Trial]:
    """One."""
    repeat = 1 if options.quick else 3

    def cost_of(program: str) -> dict[str, float]:
        our_table()
        return {"cpu": min(fresh_seconds(program) for _ in range(repeat)) * 1000}

    return [
        Trial(
            "b3-table",
            "a fresh process takes and releases one lease in a table",
            (Metric("cpu", "CPU of the process", "ms", "less"),),
            [
                Side(OURS, lambda _directory: cost_of(OUR_PROGRAM)),
                Side(BARE, lambda _directory: cost_of(_BARE)),
                Side(MODELS, lambda _directory: cost_of(_MODELS)),
            ],
            (Target("cpu", 1.05, BARE, at_most=True),),
        )
    ]


CASE = Case("B3", "fresh process, table", trials)
