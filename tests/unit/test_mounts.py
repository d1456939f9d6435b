"""What a mount tells of its locks, and what ``init`` makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from coordinator import Unsuitable, Workspace
from coordinator.files import SYSTEM_FILES, SystemFiles
from coordinator.mounts import Mounted, mount_above

if TYPE_CHECKING:
    from pathlib import Path

ROOT: Final = "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard\n"
EFS: Final = (
    "212 145 0:56 / /mnt/workspace rw,nosuid,relatime - nfs4 127.0.0.1:/ rw,vers=4.1,rsize=1048576,wsize=1048576,"
    "namlen=255,hard,noresvport,proto=tcp,port=20049,timeo=600,retrans=2,sec=sys,clientaddr=127.0.0.1,local_lock=none,"
    "addr=127.0.0.1\n"
)


def mount_with(kind: str, options: str) -> Mounted:
    line = f"30 21 0:40 / /mnt/w rw,relatime shared:2 master:1 - {kind} server:/ {options}\n"
    found = mount_above("/mnt/w", ROOT + line)
    assert found is not None
    return found


class MountedFiles(SystemFiles):
    """A disk that says that it is something else."""

    def __init__(self, mounted: Mounted | None) -> None:
        self.mounted = mounted

    def mount_of(self, path: str) -> Mounted | None:
        del path
        return self.mounted


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/", "/", "ext4"),
        ("/mnt", "/", "ext4"),
        ("/mnt/workspace", "/mnt/workspace", "nfs4"),
        ("/mnt/workspace/deep/er", "/mnt/workspace", "nfs4"),
        ("/mnt/workspace-2", "/", "ext4"),
    ],
)
def test_the_longest_mount_point_above_a_path_is_its_mount(path: str, point: str, kind: str) -> None:
    found = mount_above(path, ROOT + EFS)
    assert found is not None
    assert (found.point, found.kind) == (point, kind)


def test_of_two_mounts_at_one_point_the_later_one_counts() -> None:
    over = "300 212 0:60 / /mnt/workspace rw - tmpfs tmpfs rw\n"
    found = mount_above("/mnt/workspace/a", ROOT + EFS + over)
    assert found is not None
    assert found.kind == "tmpfs"


def test_points_with_spaces_are_found() -> None:
    found = mount_above("/mnt/my work/a", ROOT + EFS.replace("/mnt/workspace", r"/mnt/my\040work"))
    assert found is not None
    assert found.point == "/mnt/my work"


@pytest.mark.parametrize("text", ["", "nonsense\n", "21 1 254:0 / /elsewhere rw - ext4 /dev/vda1 rw\n"])
def test_what_cannot_be_told_is_not_guessed(text: str) -> None:
    assert mount_above("/mnt/w", text) is None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ext4", "rw"),
        ("overlay", "rw,lowerdir=/a"),
        ("fuseblk", "rw,allow_other"),
        ("nfs4", "rw,vers=4.2,hard,local_lock=none"),
        ("nfs", "rw,vers=3,local_lock=posix"),  # fcntl's only; ours is flock
        ("cifs", "rw,vers=3.1.1"),
        ("lustre", "rw,flock"),
        ("fuse.glusterfs", "rw"),
    ],
)
def test_locks_that_keep_everybody_out(kind: str, options: str) -> None:
    assert mount_with(kind, options).local_locks() == ""


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("nfs4", "rw,local_lock=all", "local_lock=all"),
        ("nfs4", "rw,local_lock=flock", "local_lock=flock"),
        ("nfs", "rw,vers=3,nolock,local_lock=all", "local_lock=all, nolock"),
        ("cifs", "rw,nobrl", "nobrl"),
        ("gfs2", "rw,localflocks", "localflocks"),
        ("lustre", "rw", "without flock"),
        ("lustre", "rw,localflock", "localflock"),
        ("9p", "rw,trans=virtio", "9p is not known"),
        ("virtiofs", "rw", "virtiofs is not known"),
        ("fuse.mount-s3", "rw", "fuse.mount-s3 is not known"),
        ("fuse.sshfs", "rw", "fuse.sshfs is not known"),
    ],
)
def test_a_mount_whose_locks_are_one_hosts_only_does_not_rule_unless_told(
    tmp_path: Path, kind: str, options: str, told: str
) -> None:
    files = MountedFiles(mount_with(kind, options))
    with pytest.raises(Unsuitable, match=told) as refused:
        Workspace.init(tmp_path, files=files)
    assert "--single-host" in refused.value.hint
    assert "--table" in refused.value.hint
    assert list(tmp_path.iterdir()) == []
    workspace = Workspace.init(tmp_path, files=files, single_host=True)
    with workspace.lease("x") as lease:
        assert lease.fence == 1
    assert Workspace.init(tmp_path, files=files).format == workspace.format, "it is made: opening asks nothing"


def test_where_nothing_is_told_the_probes_decide(tmp_path: Path) -> None:
    with Workspace.init(tmp_path, files=MountedFiles(None)).lease("x") as lease:
        assert lease.fence == 1


def test_only_disks_of_one_host_are_taken_for_such(tmp_path: Path) -> None:
    for mounted, expected in (
        (mount_with("ext4", "rw"), True),
        (mount_with("nfs4", "rw"), False),
        (mount_with("fuse.sshfs", "rw"), False),
        (None, False),
    ):
        assert MountedFiles(mounted).is_local(str(tmp_path)) is expected
    assert SYSTEM_FILES.mount_of(str(tmp_path)) is None or SYSTEM_FILES.mount_of("/") is not None
