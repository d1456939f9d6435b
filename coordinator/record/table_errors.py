"""What an error of boto3 means to the caller: try again, fix the call, or have a person act, and how. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from coordinator.errors import BadValue, StoreUnavailable, TableUnusable

if TYPE_CHECKING:
    from coordinator.errors import CoordinatorError

# Nothing was written: it may be tried again at once, or a little later.
NOT_NOW: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "TransactionCanceledException",
        "TransactionInProgressException",
        "TransactionConflictException",
    }
)
_CREDENTIALS: Final = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "InvalidClientTokenId",
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        "ExpiredTokenException",
        "ExpiredToken",
        "IncompleteSignature",
    }
)
_NEVER_SENT: Final = frozenset({"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"})
_NETWORK: Final = _NEVER_SENT | {
    "ConnectionError",
    "ConnectionClosedError",
    "ReadTimeoutError",
    "HTTPClientError",
    "IncompleteReadError",
    "ResponseParserError",
    "ResponseStreamingError",
    "SSLError",
    "ProtocolError",
}
_SERVER_ERROR: Final = 500
_ACTION: Final = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")
_RESOURCE: Final = re.compile(r"on resource: (arn:[^\s\"']+)")
_DENIED_BY: Final = re.compile(r"with an explicit deny in (an? [\w -]+)")
_NOT_ALLOWED_BY: Final = re.compile(r"because no (?!identity-based)([\w -]+?) allows")


class ReplyCutError(OSError):
    """The connection ended in the middle of a reply."""


def refuse_cut_reply(response_dict: dict[str, Any], **_: Any) -> None:
    """A hook of botocore: raises on a reply that is shorter than it says.

    botocore reads such a reply as one without fields (seen with 1.44): an item that is there would seem not to be.
    """
    wanted = response_dict["headers"].get("content-length")
    body = response_dict["body"]
    if wanted is not None and body is not None and len(body) != int(wanted):
        raise ReplyCutError(f"{len(body)} of {wanted} bytes of the reply came")


def is_of_the_network(error: Exception) -> bool:
    """Whether no answer came, or only part of one."""
    return isinstance(error, OSError) or type(error).__name__ in _NETWORK


def may_have_landed(error: Exception) -> bool:
    """Whether a write may have been made although this was its answer."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        status: int = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= _SERVER_ERROR or str(answer.get("Error", {}).get("Code", "")).isdecimal()
    return type(error).__name__ not in _NEVER_SENT


def told(error: Exception, about: str, table: str, region: str, *, outcome_unknown: bool) -> CoordinatorError:
    """The error to raise.

    Args:
        error: What boto3 raised.
        about: What the request was for.
        table: Which table.
        region: Where.
        outcome_unknown: Whether a write may have been made.
    """
    answer = getattr(error, "response", None)
    code, text = type(error).__name__, str(error)
    if isinstance(answer, dict):
        code, text = answer.get("Error", {}).get("Code", code), answer.get("Error", {}).get("Message", text)
    reasons = answer.get("CancellationReasons", []) if isinstance(answer, dict) else []
    invalid = next((reason.get("Message", "") for reason in reasons if reason.get("Code") == "ValidationError"), "")
    text = invalid or text
    cause = f"{code}: {text}" if text else code
    if "Item size" in text:
        hint = "make it smaller; nothing was changed"
        return BadValue(f"{about}: {text}", argument="item", value=about, hint=hint)
    hint = _hint(code, text, getattr(error, "operation_name", ""), table)
    if hint:
        message = f"the table {table!r} in region {region or 'unknown'} cannot be used for {about}: {cause}"
        return TableUnusable(message, table=table, cause=cause, hint=hint)
    hint = "try again; the table may be throttled, or the network slow"
    if code in _NEVER_SENT:
        hint = f"is {region!r} the right region? Is there a way to DynamoDB from here (in a VPC, a gateway endpoint)?"
    return StoreUnavailable(
        f"the table {table!r} did not answer ({about}): {cause}",
        resource=about,
        cause=cause,
        outcome_unknown=outcome_unknown,
        hint=hint,
    )


def _hint(code: str, text: str, operation: str, table: str) -> str:
    """What a person has to do; empty when trying again may help."""
    if code in {"AccessDeniedException", "AccessDenied"}:
        action, arn = _ACTION.search(text), _RESOURCE.search(text)
        name = action[1] if action else f"dynamodb:{operation or '*'}"
        where = arn[1].rstrip(".,") if arn else f"arn:aws:dynamodb:*:*:table/{table}"
        denied, missing = _DENIED_BY.search(text), _NOT_ALLOWED_BY.search(text)
        if denied:
            return f"{name} is denied by {denied[1]}: whoever looks after that has to change it"
        if missing:
            return f"the {missing[1]} has to allow {name}, too: a line in the role's own policy does not help"
        return f'add to the policy: {{"Effect": "Allow", "Action": "{name}", "Resource": "{where}"}}'
    if "Signature expired" in text or "Signature not yet current" in text:
        return "this host's clock is wrong: set it (by NTP), and try again"
    if code in _CREDENTIALS:
        return "the credentials are wrong or have expired: get new ones (aws sts get-caller-identity tells whose)"
    return {
        "ResourceNotFoundException": f"is the region right? If it is not there: coordinator table create {table}",
        "NoCredentialsError": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run under a role",
        "PartialCredentialsError": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together",
        "CredentialRetrievalError": "the role's credentials could not be had: is the metadata service reached?",
        "ProfileNotFound": "AWS_PROFILE names a profile that is not in ~/.aws/config",
        "NoRegionError": "say the region: AWS_REGION=…, or Workspace(…, region=…)",
        "InvalidRegionError": "say the region as AWS writes it: eu-west-1",
        "ValidationException": f"is it a table of ours? coordinator table check {table}",
        "ParamValidationError": f"is it a table of ours? coordinator table check {table}",
    }.get(code, "")
