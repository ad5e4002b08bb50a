"""
Somebody to talk to when there is no key: one emulator for all processes that share an EXAMPLE_HOME.

Several processes load this project at the same time (webserver, daemon, code servers, one per run), so a
lock decides who starts it. It stops by itself when nobody has talked to it for a while; what it knows is
kept on disk, and it comes back on the same port, so an address handed out once stays good.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

HOST = "127.0.0.1"
# Below the range from which systems take ports for outgoing connections.
# Whatever HTTP_PROXY says: the emulator is on this machine.
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PORTS = range(20_000, 30_000)
_IDLE_EXIT_SECONDS = 900
_START_TIMEOUT_SECONDS = 60.0


class EmulatorError(RuntimeError):
    """The emulator could not be started where it was promised to be."""


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """The emulator of one EXAMPLE_HOME; the value is cheap, the process starts with `ensure_running`."""

    home: Path
    pace: str = "4,0.001"
    """How long it pretends to work: seconds per batch, and per request in it."""

    @property
    def state(self) -> Path:
        """Its batches and answers."""
        return self.home / "emulator"

    @property
    def ready_file(self) -> Path:
        """Written by it when it listens: its address and process id."""
        return self.home / "emulator.json"

    def reserve(self) -> str:
        """
        Say at which address it is or will be, without starting it.

        The same address every time, unless another program has taken the port meanwhile.
        """
        with self._lock():
            return f"http://{HOST}:{self._port()}"

    def ensure_running(self, base_url: str) -> None:
        """Return once it answers at the address that `reserve` gave, starting it if it does not."""
        with self._lock():
            if self.healthy(base_url):
                return
            port = int(base_url.rpartition(":")[2])
            if not _is_free(port):
                raise EmulatorError(
                    f"Another program listens at {base_url}, where the emulator should be. "
                    "Reload the code location (or start again): it will take another port."
                )
            self._start(port)

    def healthy(self, base_url: str) -> bool:
        """Tell whether our emulator, and not that of another EXAMPLE_HOME, answers at this address."""
        try:
            ready = json.loads(self.ready_file.read_text())
            if ready["url"] != base_url:
                return False
            # The file may be left over, and the port by now be that of another emulator.
            os.kill(ready["pid"], 0)
            with _DIRECTLY.open(f"{base_url}/_emulator/health", timeout=5) as reply:
                return "status" in json.load(reply)
        except (OSError, HTTPException, ValueError, KeyError):
            return False

    def _lock(self) -> FileLock:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(self.home / "emulator.lock")

    def _port(self) -> int:
        """Take the port of last time, else one that belongs to this home, else the next that is free."""
        first = zlib.crc32(str(self.home).encode()) % len(_PORTS)
        candidates: list[int] = [*self._last_port(), *_PORTS[first:], *_PORTS[:first]]
        for port in candidates:
            if _is_free(port) or self.healthy(f"http://{HOST}:{port}"):
                return port
        raise EmulatorError(
            f"Every port from {_PORTS.start} to {_PORTS.stop - 1} is taken; stop a program that listens."
        )

    def _last_port(self) -> list[int]:
        try:
            url: str = json.loads(self.ready_file.read_text())["url"]
            return [int(url.rpartition(":")[2])]
        except (OSError, ValueError, KeyError):
            return []

    def _start(self, port: int) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        log_path = self.state / "emulator.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                self._command(port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal of one process must not take the emulator from the others.
                start_new_session=True,
            )
        give_up = time.monotonic() + _START_TIMEOUT_SECONDS
        while not self.healthy(f"http://{HOST}:{port}"):
            if process.poll() is not None or time.monotonic() > give_up:
                process.kill()
                process.wait()
                raise EmulatorError(f"The emulator did not start; {log_path} says why.")
            time.sleep(0.05)
        # It outlives this process on purpose; Python would complain about a handle of a living process.
        process.returncode = 0

    def _command(self, port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "claude_batch_dagster.emulator"),
            *("--host", HOST, "--port", str(port), "--state", str(self.state)),
            # Models that answer alike would leave a cascade nothing to decide.
            *("--batch-seconds", self.pace, "--progressive-counts", "--unlike-models"),
            *("--idle-exit-seconds", str(_IDLE_EXIT_SECONDS), "--ready-file", str(self.ready_file)),
        ]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
