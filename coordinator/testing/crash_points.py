"""Every crash point of an action: the trees that a power failure may leave after each effect that it has on files.

    disk = CrashFiles(clock)
    points = CrashPoints(disk, judge)                    # judge(state, where) raises if it finds what may not be
    workspace = Workspace("/shared", files=points.files, clock=clock)
    with points.recording():
        workspace.document("tasks.json").update(…)
    assert points.taken > 20, points                     # else nothing was recorded

The trees are taken down inside the calls, and the action goes on untouched: raising there would let clean-up code run
that no power failure runs. The one in which everything survived is what a process that was killed leaves.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from coordinator.names import STATE_DIR
from coordinator.testing.files import InterceptedFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from coordinator.testing.crash import CrashFiles, CrashState
    from coordinator.testing.crash_choices import Tears
    from coordinator.testing.files import Call

    Judge = Callable[[CrashState, str], object]


def is_aside(path: str) -> bool:
    """Whether nobody looks for a name: scratch names, clock files, and what only saves work when it is there."""
    below = path.partition(f"/{STATE_DIR}/")[2]
    return below.startswith(("scratch/", "clock/")) or below.endswith(("/@/queue.lock", "/@/synced"))


class CrashPoints:
    """Has every tree judged that a power failure may leave during an action.

    Args:
        disk: What the action works on.
        judge: Called with each tree, and where the power failed.
        promised: What was acknowledged until now, and whatever else a tree is judged by: trees that are the same are
            judged once for each. What is acknowledged is a crash point, too: see ``look``.
        tears, aside, names_max: See CrashFiles.every_crash_state.

    Attributes:
        files: What the action is to use.
        taken: Crash points: effects on files, and acknowledgements.
        judged: Trees that were judged.
        bounded: Crash points at which there were too many effects for every subset.
    """

    def __init__(
        self,
        disk: CrashFiles,
        judge: Judge,
        *,
        promised: Callable[[], Hashable] = lambda: None,
        tears: Tears | None = None,
        aside: Callable[[str], bool] = is_aside,
        names_max: int = 12,
    ) -> None:
        self.files = InterceptedFiles(disk, self._after_call)
        self.taken = self.judged = self.bounded = 0
        self._disk, self._judge, self._promised = disk, judge, promised
        self._tears, self._aside, self._names_max = tears, aside, names_max
        self._is_recording = False
        self._failure: BaseException | None = None
        self._last: Hashable = None
        self._seen: set[Hashable] = set()

    def __repr__(self) -> str:
        bounded = f", {self.bounded} of them not exhausted" if self.bounded else ""
        return f"{self.taken} crash points{bounded}, {self.judged} trees judged"

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within this block every effect is a crash point, and so are its beginning and its end."""
        self._is_recording = True
        try:
            self.look("at the beginning")
            yield
            self.look("at the end")
        finally:
            self._is_recording = False
            if self._failure is not None:
                raise self._failure  # whatever the action has made of it

    def look(self, where: str) -> None:
        """The power fails now, if anything was done or promised since it last did, and the action goes on."""
        promised = self._promised()
        if not self._is_recording or (len(self._disk.effects), promised) == self._last:
            return
        self._last = (len(self._disk.effects), promised)
        self.taken += 1
        self.bounded += len(self._disk.effects_pending(self._aside)) > self._names_max
        for state in self._disk.every_crash_state(tears=self._tears, aside=self._aside, names_max=self._names_max):
            if (state.key, promised) not in self._seen:
                self._seen.add((state.key, promised))
                self.judged += 1
                try:
                    self._judge(state, where)
                except BaseException as error:  # clean-up code of the action is on its way: nothing more is recorded
                    self._is_recording, self._failure = False, error
                    raise

    def _after_call(self, call: Call) -> None:
        if call.when == "after":
            self.look(f"after {call.op} {call.path}")
