"""What lies under a path, as /proc/self/mountinfo tells it: who else writes there, and whom a lock there keeps out.

Pure: the text comes from files.py. Where there is no such text (macOS), nothing can be told.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# File systems that no other host writes to. Anything else may be shared: FUSE, 9p, NFS, SMB and what is not known.
ONE_HOST: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "overlay"})

# More of them, whose habits were not looked into: what is written there is treated as on a shared one.
_ONE_HOST_TOO: Final = frozenset(
    {"aufs", "exfat", "fuse.fuse-overlayfs", "fuseblk", "jfs", "nilfs2", "ntfs3", "ramfs", "reiserfs", "vfat"}
)

# Shared ones whose flock is the cluster's, as long as none of these options says otherwise (their manual pages: nfs(5),
# mount.cifs(8), mount.gfs2(8); ocfs2.txt and ceph in the kernel's documentation; lustre wants `flock` to be given).
_CLUSTER: Final[dict[str, frozenset[str]]] = {
    "nfs": frozenset({"nolock", "local_lock=flock", "local_lock=all"}),
    "nfs4": frozenset({"nolock", "local_lock=flock", "local_lock=all"}),
    "cifs": frozenset({"nobrl"}),
    "smb3": frozenset({"nobrl"}),
    "ceph": frozenset(),
    "fuse.ceph": frozenset(),
    "fuse.glusterfs": frozenset(),
    "gfs2": frozenset({"localflocks", "lockproto=lock_nolock"}),
    "lustre": frozenset({"localflock", "noflock"}),
    "ocfs2": frozenset({"localflocks"}),
}
_WANTED: Final = {"lustre": "flock"}


class Mounted(NamedTuple):
    """One mount.

    Attributes:
        point: Where.
        kind: Of file system: ``ext4``, ``nfs4``, ``fuse.sshfs``.
        options: The mount's own and its file system's.
    """

    point: str
    kind: str
    options: frozenset[str]

    @property
    def is_of_one_host(self) -> bool:
        """Whether what is written there is seen by all who can reach it, synced or not."""
        return self.kind in ONE_HOST

    def local_locks(self) -> str:
        """Why flock there may not keep other hosts out; empty when it does, or when there are none."""
        if self.is_of_one_host or self.kind in _ONE_HOST_TOO:
            return ""
        if self.kind not in _CLUSTER:
            return f"{self.kind} is not known to take locks for all its hosts"
        told = sorted(_CLUSTER[self.kind] & self.options)
        if told:
            return f"{self.kind} is mounted with {', '.join(told)}: locks are this host's only"
        wanted = _WANTED.get(self.kind)
        if wanted and wanted not in self.options:
            return f"{self.kind} is mounted without {wanted}"
        return ""


def mount_above(path: str, mountinfo: str) -> Mounted | None:
    """The mount that a path lies on; None when that cannot be told.

    Args:
        path: A real one (no symbolic links in it).
        mountinfo: The text of /proc/self/mountinfo (proc(5)).
    """
    found: Mounted | None = None
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:]:
            continue
        end = fields.index("-", 6)
        point = _unescaped(fields[4])
        is_above = f"{path}/".startswith(point.rstrip("/") + "/")
        if is_above and (found is None or len(point) >= len(found.point)):  # the last one lies on top
            options = frozenset(",".join((fields[5], fields[-1])).split(","))
            found = Mounted(point, fields[end + 1], options)
    return found


def _unescaped(text: str) -> str:
    r"""Space, tab, newline and backslash are written as octal: ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda told: chr(int(told[1], 8)), text)
