"""A lab: one NFSv4.2 server and several clients, each a Linux kernel of its own, run as a process on this machine.

Every guest has this machine's files as its root, read-only (so that this Python is there), an address of its own on a
bridge in a network namespace, and a page cache, a lock state and a clock of its own. The share is at ``/mnt/ws`` on
each client. ``/mnt/lab`` is a folder of this machine, writable, for results and barriers, and for a copy of what is
tested, which does not change while somebody works on it: no NFS.

Commands are given to a guest as files in its job folder there, which its first process runs.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import coordinator
from nfs.packages import KERNEL, MODULES, PATH, install

if TYPE_CHECKING:
    from types import TracebackType

NETWORK: Final = "10.78.0"
MACHINE: Final = f"{NETWORK}.1"  # this machine itself, on the bridge
SOURCE: Final = "/mnt/lab/source"  # the copy, as guests see it
OPTIONS: Final = "vers=4.2,hard,timeo=600,retrans=2,noresvport,rsize=1048576,wsize=1048576"  # as efs-utils mounts
BOOT_S: Final = 60.0
SHARE: Final = "/mnt/ws"

_TESTS: Final = Path(__file__).parents[1]
_TESTED: Final = (Path(coordinator.__file__).parent, _TESTS.parent / "benchmarks", _TESTS / "nfs")

_FIRST_PROCESS: Final = r"""#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export TMPDIR=/dev/shm
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm; mount -t tmpfs shm /dev/shm
mount -t tmpfs mnt /mnt; mkdir -p /mnt/ws /mnt/lab; mount -t hostfs -o @FOLDER@ lab /mnt/lab
mkdir -p /run/lock /run/rpcbind /run/sendsigs.omit.d
mount -t tmpfs nfs /var/lib/nfs; mkdir -p /var/lib/nfs/rpc_pipefs /var/lib/nfs/v4recovery /var/lib/nfs/sm
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
hostname "$NAME"; ip link set lo up; ip addr add "$ADDRESS/24" dev vec0; ip link set vec0 up
jobs=/mnt/lab/jobs/$NAME; touch "$jobs/booted"
while :; do
  for given in "$jobs"/*.job; do
    [ -e "$given" ] || continue
    job=${given%.job}; mv "$given" "$job.sh"
    ( sh "$job.sh" >"$job.out" 2>&1 </dev/null; echo $? >"$job.part"; mv "$job.part" "$job.status" ) &
  done
  sleep 0.02
done
"""

_SERVE: Final = r"""set -e
modprobe -d @MODULES@ nfsd; modprobe -d @MODULES@ sunrpc
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
mountpoint -q /mnt/ws || { mkdir -p /mnt/disk; mount -t ext4 /dev/ubda /mnt/disk; mkdir -p /mnt/disk/ws /mnt/disk/state
  chmod 777 /mnt/disk/ws; mount --bind /mnt/disk/ws /mnt/ws; }
mountpoint -q /var/lib/nfs/rpc_pipefs || mount -t rpc_pipefs pipes /var/lib/nfs/rpc_pipefs
pidof nfsdcld >/dev/null || nfsdcld -s /mnt/disk/state -p /var/lib/nfs/rpc_pipefs
echo @DELEGATIONS@ >/proc/sys/fs/leases-enable
echo 1048576 >/proc/fs/nfsd/max_block_size 2>/dev/null || true
echo @LEASE@ >/proc/fs/nfsd/nfsv4leasetime; echo @LEASE@ >/proc/fs/nfsd/nfsv4gracetime
exportfs -o rw,no_root_squash,no_subtree_check,fsid=0,insecure,sync '*:/mnt/ws'
pidof rpc.mountd >/dev/null || rpc.mountd -N 2 -N 3
rpc.nfsd -N 3 -V 4.2 8
"""

_MOUNT: Final = "set -e; modprobe -d @MODULES@ nfsv4; mount -t nfs4 -o @OPTIONS@ @SERVER@:/ /mnt/ws"


class Done(NamedTuple):
    """What a command came to."""

    status: int
    out: str


class Job:
    """A command on its way in a guest."""

    def __init__(self, guest: Guest, path: Path) -> None:
        self._guest = guest
        self._path = path

    def wait(self, seconds: float = 120) -> Done:
        """Its end. Raises TimeoutError; and AssertionError when the guest is gone."""
        status, end = self._path.with_suffix(".status"), time.monotonic() + seconds
        while not status.exists():
            assert self._guest.is_running(), f"the guest {self._guest.name} is gone"
            if time.monotonic() > end:
                raise TimeoutError(f"{self._guest.name}: not done after {seconds:g} s: {self.out()[-2000:]}")
            time.sleep(0.01)
        return Done(int(status.read_text()), self.out())

    def status(self) -> int | None:
        """What it ended with; None while it is running."""
        with contextlib.suppress(FileNotFoundError):
            return int(self._path.with_suffix(".status").read_text())
        return None

    def out(self) -> str:
        """What it has written so far."""
        with contextlib.suppress(FileNotFoundError):
            return self._path.with_suffix(".out").read_text(errors="replace")
        return ""


class Guest:
    """One host. Made by ``Lab``."""

    def __init__(self, lab: Lab, name: str, number: int) -> None:
        self.name = name
        self.address = f"{NETWORK}.{10 + number}"
        self._lab = lab
        self._number = number
        self._jobs = lab.folder / "jobs" / name
        self._count = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Starts its kernel; ``wait_until_booted`` waits for it."""
        shutil.rmtree(self._jobs, ignore_errors=True)
        self._jobs.mkdir(parents=True)
        tap, space = f"tap{self._number}", self._lab.namespace
        _quietly("ip", "netns", "exec", space, "ip", "tuntap", "add", tap, "mode", "tap")
        _run("ip", "-n", space, "link", "set", tap, "master", "br0", "up")
        arguments = [
            *(str(KERNEL), "mem=384M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={self._lab.folder}/init"),
            *(f"NAME={self.name}", f"ADDRESS={self.address}", "con=null", "con0=null,fd:1", "quiet"),
            f"vec0:transport=tap,ifname={tap},mac=02:4e:46:53:01:{self._number:02x},depth=64,gro=1",
            *(f"uml_dir={self._lab.folder}/uml", f"umid={self.name}", "random.trust_cpu=1"),
        ]
        if self is self._lab.server:
            arguments.append(f"ubd0={self._lab.folder}/disk")
        with open(self._lab.folder / f"{self.name}.console", "ab") as console:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", space, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={"PATH": PATH, "TMPDIR": "/dev/shm", "HOME": "/root"},  # noqa: S108 - where its memory is
                start_new_session=True,
            )

    def wait_until_booted(self) -> None:
        """Returns when it takes commands."""
        end = time.monotonic() + BOOT_S
        while not (self._jobs / "booted").exists():
            console = (self._lab.folder / f"{self.name}.console").read_text(errors="replace")
            assert self.is_running(), f"{self.name} ended while it booted: {console[-2000:]}"
            assert time.monotonic() < end, f"{self.name} did not boot: {console[-2000:]}"
            time.sleep(0.02)

    def is_running(self) -> bool:
        """Whether its kernel is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self, command: str) -> Job:
        """Gives it a shell command, to be run in the share."""
        path = self._jobs / f"{next(self._count)}.job"
        part = path.with_suffix(".given")
        part.write_text(f"cd {SHARE}\n{command}\n")
        part.rename(path)
        return Job(self, path.with_suffix(""))

    def run(self, command: str, seconds: float = 120) -> str:
        """Runs a command; what it wrote. AssertionError if it failed."""
        done = self.start(command).wait(seconds)
        assert done.status == 0, f"{self.name}: {command!r} ended with {done.status}: {done.out[-3000:]}"
        return done.out

    def freeze(self) -> None:
        """Stops the whole host, as a paused sandbox is: its clocks, its programs, its replies."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def cut(self) -> None:
        """Takes it off the network without a sign: frames are lost."""
        _run("ip", "-n", self._lab.namespace, "link", "set", f"tap{self._number}", "nomaster")

    def heal(self) -> None:
        """Puts it back."""
        _run("ip", "-n", self._lab.namespace, "link", "set", f"tap{self._number}", "master", "br0")

    def kill(self) -> None:
        """Ends it as a power failure does."""
        if self._process is None:
            return
        session = self._process.pid
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for entry in Path("/proc").iterdir():  # the processes that it traced
            with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
                if os.getsid(int(entry.name)) == session:
                    os.kill(int(entry.name), signal.SIGKILL)


class Lab:
    """The server and its clients. A context manager.

    Args:
        clients: How many.
        lease_s: The server's lease, and its grace after a restart; the kernel allows 10 and more.
        delegations: Whether the server gives delegations. (EFS and S3 Files give none.)
    """

    def __init__(self, clients: int = 3, *, lease_s: int = 10, delegations: bool = False) -> None:
        install()
        self.folder = Path(tempfile.mkdtemp(prefix="nfs-lab-"))
        self.namespace = self.folder.name
        self._lease_s = lease_s
        self._delegations = delegations
        self.server = Guest(self, "server", 0)
        self.clients = [Guest(self, f"client{number}", number) for number in range(1, clients + 1)]
        self._beside: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        init = self.folder / "init"
        init.write_text(_FIRST_PROCESS.replace("@FOLDER@", str(self.folder)))
        init.chmod(0o755)
        self.folder.chmod(0o755)
        for package in _TESTED:
            where = self.folder / Path(SOURCE).name / package.name
            shutil.copytree(package, where, ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "uml").mkdir()
        disk = self.folder / "disk"
        with open(disk, "wb") as file:
            file.truncate(2 << 30)
        _run("mkfs.ext4", "-q", "-F", str(disk))
        _run("ip", "netns", "add", self.namespace)
        try:
            _run("ip", "-n", self.namespace, "link", "add", "br0", "type", "bridge")
            _run("ip", "-n", self.namespace, "addr", "add", f"{MACHINE}/24", "dev", "br0")
            _run("ip", "-n", self.namespace, "link", "set", "br0", "up")
            for guest in (self.server, *self.clients):
                guest.boot()
            self.server.wait_until_booted()
            self._serve()
            for client in self.clients:
                client.wait_until_booted()
                self._mount(client)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything, and leaves nothing behind."""
        for guest in (self.server, *self.clients):
            guest.kill()
        for process in self._beside:
            process.kill()
            process.wait()
        _quietly("ip", "netns", "del", self.namespace)
        shutil.rmtree(self.folder, ignore_errors=True)

    def beside(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a module of these tests on this machine, where guests reach it at MACHINE. It ends with the lab."""
        with open(self.told(module), "ab") as told:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, sys.executable, "-m", module, *arguments],
                cwd=self.folder / Path(SOURCE).name,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                env={**os.environ, "PATH": PATH},
            )
        self._beside.append(process)
        return process

    def told(self, module: str) -> Path:
        """What such a module has written so far."""
        return self.folder / f"{module}.txt"

    def restart_server(self, *, crash: bool) -> None:
        """Stops nfsd and starts it again; or kills the whole server and boots it. Clients reclaim their locks."""
        if crash:
            self.server.kill()
            self.server.boot()
            self.server.wait_until_booted()
        else:
            self.server.run("rpc.nfsd 0")
        self._serve()

    def reboot(self, client: Guest) -> None:
        """Boots a client that was killed."""
        client.boot()
        client.wait_until_booted()
        self._mount(client)

    def delegated(self) -> int:
        """How many delegations the server has given and not got back."""
        return int(self.server.run("cat /proc/fs/nfsd/clients/*/states | grep -c 'type: deleg' || true"))

    def remount(self, client: Guest, server: str) -> None:
        """Mounts the share anew, from another address: a relay's, or the server's own."""
        client.run(f"cd / && umount {SHARE}")
        self._mount(client, server)

    def _serve(self) -> None:
        command = _SERVE.replace("@MODULES@", str(MODULES)).replace("@LEASE@", str(self._lease_s))
        self.server.run(command.replace("@DELEGATIONS@", str(int(self._delegations))), BOOT_S)

    def _mount(self, client: Guest, server: str = "") -> None:
        command = _MOUNT.replace("@MODULES@", str(MODULES)).replace("@OPTIONS@", OPTIONS)
        client.run(command.replace("@SERVER@", server or self.server.address), BOOT_S)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, "PATH": PATH})


def _quietly(*command: str) -> None:
    subprocess.run(command, check=False, env={**os.environ, "PATH": PATH}, stderr=subprocess.DEVNULL)
