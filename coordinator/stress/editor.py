"""Two who know nothing of the coordinator: one rewrites a document by hand, one reads it all the time.

``python -m coordinator.stress.editor``, with one JSON object as its argument; until standard input ends.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import time
from typing import Any

from coordinator.names import new_id
from coordinator.stress.journal import Journal
from coordinator.stress.worker import LOGGED
from coordinator.workspace import Workspace


def edit(journal: Journal, path: str, rng: random.Random) -> None:
    """Loads, adds a tag, saves: a new file in its place, as most editors do; or the same one, written anew."""
    tag = f"hand-{new_id()}"
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (OSError, ValueError) as error:
        journal.note("unreadable", error=repr(error)[:200])
        return
    value["tags"][tag] = 1
    text = json.dumps(value).encode() + b"\n"
    in_place = rng.random() < 0.3  # noqa: PLR2004 - now and then
    if in_place:
        with open(path, "wb") as file:
            file.write(text)
    else:
        with open(f"{path}~", "wb") as file:
            file.write(text)
        os.replace(f"{path}~", path)
    journal.note("saved", tag=tag, in_place=in_place)


def look(journal: Journal, workspace: Workspace, seen: int) -> int:
    """Reads the document as a user of the library does; its revision never goes back."""
    content = workspace.document(LOGGED).content()
    json.loads(content.data)
    if content.revision < seen:
        journal.note("went_back", seen=seen, revision=content.revision)
    return max(seen, content.revision)


def main() -> None:
    """See above."""
    facts: dict[str, Any] = json.loads(sys.argv[1])
    journal, rng = Journal(facts["journal"]), random.Random(facts["seed"])
    workspace = Workspace(facts["directory"], agent=facts["agent"], table=facts["table"], region=facts["region"])
    path, seen, reads = os.path.join(facts["directory"], LOGGED), 0, 0
    next_edit = time.monotonic() + 1
    journal.note("ready")
    while not select.select([sys.stdin], [], [], 0.02)[0]:
        seen, reads = look(journal, workspace, seen), reads + 1
        if facts["edits"] and time.monotonic() > next_edit:
            edit(journal, path, rng)
            next_edit = time.monotonic() + rng.uniform(0.5, 2.0)
    journal.note("done", reads=reads)


if __name__ == "__main__":
    main()
