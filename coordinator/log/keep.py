"""What happens to logs that are over: kept as evidence, or deleted (P22, P27)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from coordinator.folders import list_surely, make_dirs, remove_quietly
from coordinator.log.opening import file_name, parse_file_name
from coordinator.record.unavailable import unavailable

if TYPE_CHECKING:
    from coordinator.log.walk import Damage
    from coordinator.names import Resource
    from coordinator.record.member import Member


def log_files(member: Member, resource: Resource, incarnation: str) -> list[str]:
    """Names of an incarnation's files in ``log/``, first segment first. Raises OSError."""
    listed = list_surely(member.files, member.places.resources, member.places.of(resource, "log"))
    names = [name for text in listed if (name := parse_file_name(text)) and name.incarnation == incarnation]
    return [file_name(name) for name in sorted(names, key=lambda name: (name.segment, name.agent))]


def locate(member: Member, resource: Resource, incarnation: str, seq: int) -> tuple[str, int]:
    """The file, and the offset in it, of the frame of an operation, for a person who has to find it; "" for nowhere."""
    folder = member.places.of(resource, "log")
    for name in log_files(member, resource, incarnation):
        data = member.files.read(f"{folder}/{name}")
        at = data.find(b'{"seq":%d,' % seq)
        if at >= 0:
            return f"{folder}/{name}", data.rfind(b"\n", 0, at) + 1
    return "", 0


def remove_logs(member: Member, resource: Resource, incarnation: str, *, below: int | None = None) -> int:
    """Deletes a log that is over, or of one that goes on the segments that were folded.

    The first segment goes first. Whatever stops this, what is left is still covered by its position, which is kept
    until none of its files is listed, and that listing is durable; and should a position be lost, a log without its
    first segment is folded by nobody (it is an orphan), while one without its last would look like a live one.

    Args:
        member: Through whom.
        resource: Whose log.
        incarnation: Which log. Its position says that it has ended, in a record that stands.
        below: Only the segments before this one: the segment of its position, in a record that stands.

    Returns:
        How many files were there.

    Raises:
        StoreUnavailable: The logs could not be listed. A retry is safe.
    """
    folder = member.places.of(resource, "log")
    try:
        names = log_files(member, resource, incarnation)
    except OSError as error:
        raise unavailable(error, resource, "listing the logs of") from error
    if below is not None:
        names = [name for name in names if (parsed := parse_file_name(name)) and parsed.segment < below]
    for name in names:
        remove_quietly(member.files, f"{folder}/{name}")
    return len(names)


def quarantine(member: Member, resource: Resource, damage: Damage) -> list[str]:
    """Keeps a damaged log as it was found first, and what is wrong with it, beside the document's state.

    What is kept already is left as it is, so that a second call, or one after a crash, adds what is missing only.

    Returns:
        Paths of the copies, and of a report in JSON.

    Raises:
        StoreUnavailable: A retry is safe.
    """
    files, places = member.files, member.places
    source, folder = places.of(resource, "log"), places.of(resource, "quarantine")
    kept = []
    try:
        make_dirs(files, places.resources, folder)
        there = set(files.listdir(folder))
        for name in log_files(member, resource, damage.incarnation):
            if name not in there:
                try:
                    data = files.read(f"{source}/{name}")
                except FileNotFoundError:  # removed meanwhile
                    continue
                files.rename(member.write_scratch(data), f"{folder}/{name}")
            kept.append(f"{folder}/{name}")
        report = f"{damage.agent}.{damage.incarnation}.json"
        if report not in there:
            facts = {**damage._asdict(), "resource": str(resource), "kept": kept}
            text = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
            files.rename(member.write_scratch(text.encode()), f"{folder}/{report}")
        files.sync_dir(folder)
    except OSError as error:
        raise unavailable(error, resource, "setting aside a damaged log of") from error
    return [*kept, f"{folder}/{report}"]
