"""A Postgres server, and a pooler before it, made for tests of programs of the system, in a folder of their own."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Self

import sqlalchemy as sa

NOBODY = 65_534
"""Postgres and PgBouncer refuse to run as root."""

POOLER_PORT = 6432
"""Only the name of a socket in a folder of ours."""

POOLER = """
[databases]
* = host={folder} user=ledger
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
listen_port = {port}
auth_type = any
pool_mode = transaction
default_pool_size = {size}
pidfile = {folder}/pooler.pid
logfile = {folder}/pooler.log
"""


@dataclass(frozen=True)
class PostgresServer:
    """One server, reached by a socket in its folder."""

    folder: Path

    @staticmethod
    def is_there() -> bool:
        """Whether the machine has the programs."""
        return shutil.which("initdb") is not None and shutil.which("pg_ctl") is not None

    @classmethod
    @contextmanager
    def at(cls, folder: Path) -> Iterator[Self]:
        """Have a server in a folder."""
        folder.mkdir(exist_ok=True)
        for path in (folder, *folder.parents):
            if not path.stat().st_mode & stat.S_IXOTH:  # the server is another user's, and has to get there
                path.chmod(path.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
        if _who():
            os.chown(folder, NOBODY, NOBODY)
        server = cls(folder)
        server.run("initdb", "-D", str(server.data), "-A", "trust", "-U", "ledger")
        server.start()
        try:
            yield server
        finally:
            server.stop()

    @property
    def data(self) -> Path:
        """Where it keeps its data."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        """The URL of its database."""
        return f"postgresql+psycopg://ledger@/postgres?host={self.folder}"

    @property
    def pooled_url(self) -> str:
        """The URL of its database behind the pooler."""
        return f"{self.url}&port={POOLER_PORT}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off"
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """End every session, and stop."""
        self.run("pg_ctl", "-D", str(self.data), "-w", "-m", "fast", "stop")

    @contextmanager
    def pooler(self, *, size: int) -> Iterator[None]:
        """Have a PgBouncer before it that hands each transaction any of a few sessions."""
        (self.folder / "pooler.ini").write_text(POOLER.format(folder=self.folder, port=POOLER_PORT, size=size))
        command = ["pgbouncer", str(self.folder / "pooler.ini")]
        with subprocess.Popen(command, cwd=self.folder, user=_who(), group=_who(), stderr=subprocess.DEVNULL) as pooler:
            try:
                _wait_for(self.pooled_url)
                yield
            finally:
                pooler.terminate()

    def run(self, *command: str) -> None:
        """Run a program, as a user that it takes."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            user=_who(),
            group=_who(),
        )
        assert done.returncode == 0, done.stderr.decode()

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements, each by itself, and return the rows of the last."""
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT")
        found: list[tuple[object, ...]] = []
        with engine.connect() as connection:
            for statement in statements:
                result = connection.exec_driver_sql(statement)
                found = [tuple(row) for row in result] if result.returns_rows else []
        engine.dispose()
        return found


def _who() -> int | None:
    return NOBODY if os.geteuid() == 0 else None


def _wait_for(url: str) -> None:
    """Wait until a server answers."""
    engine = sa.create_engine(url)
    for _ in range(600):
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            sleep(0.1)
        else:
            engine.dispose()
            return
    raise TimeoutError(url)
