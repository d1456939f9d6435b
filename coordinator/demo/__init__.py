"""The demonstration: a fleet of processes works through one tasks.json without coordination, under leases, over logs.

    plan.py        which tasks a document holds, whatever tool wrote it, and which of them there are to do
    strategies.py  the ways to share the tasks: in place, temp + rename, under leases, over logs
    worker.py      one worker process: claim, work, complete
    reader.py      one reader process: is the file whole, at every look?
    faults.py      who is killed and who is frozen, and when: drawn from a seed
    ledger.py      what was acknowledged: one journal a process
    act.py         one act: start, faults, progress, end
    coordinated.py the workspace of a coordinated act, for whoever judges it
    judge.py       what was lost, doubled, torn and refused: pure
    replay.py      what the changes of the act over logs say happened, and whether that is what was told: pure
    show.py        all acts, and the exit status
    report.py      live progress, the table, the sentences; or one JSON object

The demonstration is a user's program: it reads, writes and times with ordinary calls, as one does. The workers reach
the coordinator through its public face (and ``coordinator.testing``, to be stopped inside a commit); the judge borrows
its JSON renderer, to compare texts.
"""

from __future__ import annotations


def run_demo(*, tasks_path: str | None, workers: int, as_json: bool, keep: str | None, seed: int | None = None) -> int:
    """Runs the demonstration and reports it on stdout.

    Args:
        tasks_path: The tasks.json that is copied and worked on; None for the one that ships.
        workers: How many worker processes, from 2 to 32.
        as_json: Print one JSON object on stdout, and nothing else.
        keep: A directory, absent or empty, to leave all files in; None to work in a temporary one and remove it.
        seed: Draws who is killed and frozen; None for ``COORDINATOR_DEMO_SEED``, or a random one.

    Returns:
        The exit status: 0 when the coordinated runs lost, doubled and tore nothing and the uncoordinated runs showed
        that the counting sees losses; 1 otherwise; 2 when it could not be started.
    """
    # Imported late: the workers are started as submodules of this package, and have no use for rich.
    from coordinator.demo.show import run_demo as run  # noqa: PLC0415

    return run(tasks_path=tasks_path, workers=workers, as_json=as_json, keep=keep, seed=seed)


__all__ = ["run_demo"]
