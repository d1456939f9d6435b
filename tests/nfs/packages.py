"""What the lab needs of Debian: a kernel that runs as a process, and the programs of NFS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

CACHE: Final = Path("/var/cache/coordinator-nfs")
KERNEL: Final = CACHE / "linux"
MODULES: Final = CACHE / "modules"
PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_PROGRAMS: Final = {  # what is run, and the package that has it
    "ip": "iproute2",
    "rpc.nfsd": "nfs-kernel-server",
    "mount.nfs": "nfs-common",
    "modprobe": "kmod",
    "mkfs.ext4": "e2fsprogs",
    "patchelf": "patchelf",
}
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"


class NotToBeHad(Exception):
    """Something the lab needs is missing here, and cannot be installed."""


def install() -> None:
    """Brings in what is missing. Starts no daemon.

    Raises:
        NotToBeHad: Says what, and why.
    """
    if os.geteuid() != 0:
        raise NotToBeHad("not root: guests need tap devices and a network namespace")
    if not Path("/dev/net/tun").exists():
        raise NotToBeHad("there is no /dev/net/tun")
    try:
        _install_programs()
        if not KERNEL.exists():
            _fetch_kernel()
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        raise NotToBeHad(f"Debian's packages are not to be had: {error}") from None


def _install_programs() -> None:
    missing = [package for program, package in _PROGRAMS.items() if not shutil.which(program, path=PATH)]
    if missing:
        _apt("update", "-q")
        _apt("install", "-y", "-q", "--no-install-recommends", *missing)


def _fetch_kernel() -> None:
    """linux.uml of Debian unstable, with its own libc: older ones do not run on processors with AMX."""
    shutil.rmtree(CACHE, ignore_errors=True)
    apt = CACHE / "apt"
    for folder in ("sources", "lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources/unstable.sources").write_text(
        f"Types: deb\nURIs: {_archive()}\nSuites: sid\nComponents: main\nSigned-By: {_KEYRING}\n"
    )
    where = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={apt}/sources"]
    where += ["-o", f"Dir::State::lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache", "-o", "APT::Sandbox::User=root"]
    _apt(*where, "update", "-q")
    _apt(*where, "download", "-q", "user-mode-linux", "libc6", cwd=CACHE)
    for package in CACHE.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, CACHE / package.name.partition("_")[0]], check=True)
        package.unlink()
    library = next((CACHE / "libc6").rglob("libc.so.6")).parent
    raw = CACHE / "linux.raw"
    shutil.copy(CACHE / "user-mode-linux/usr/bin/linux.uml", raw)
    loader = str(library / "ld-linux-x86-64.so.2")
    subprocess.run(["patchelf", "--set-interpreter", loader, "--set-rpath", str(library), str(raw)], check=True)
    (MODULES / "lib").mkdir(parents=True)
    (MODULES / "lib/modules").symlink_to(CACHE / "user-mode-linux/usr/lib/uml/modules")
    shutil.rmtree(apt)
    raw.rename(KERNEL)


def _archive() -> str:
    """The archive that this machine's own sources name."""
    listed = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for source in filter(Path.is_file, listed):
        found = re.search(r"^(?:URIs:|deb)\s.*?(\S+://\S+?/debian)/?(?=\s|$)", source.read_text(), re.MULTILINE)
        if found:
            return found.group(1)
    raise NotToBeHad("this machine's sources name no Debian archive")


def _apt(*arguments: str, cwd: Path | None = None) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": PATH}
    subprocess.run(["apt-get", *arguments], check=True, cwd=cwd, env=env, stdout=subprocess.DEVNULL)
