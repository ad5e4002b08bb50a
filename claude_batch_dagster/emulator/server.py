"""Serving an emulator on a port: for a while in a thread, or as a process of its own."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import orjson
import uvicorn

from claude_batch_dagster.emulator.app import Emulator
from claude_batch_dagster.emulator.wire import Application, Wire

_BACKLOG = 128
_MOMENT = 0.005
_KEEP_ALIVE_SECONDS = 75  # longer than clients keep idle connections, so that none is lost by accident


class Server(uvicorn.Server):
    """uvicorn, which tells when it listens and may leave when nobody calls."""

    def __init__(
        self,
        application: Application,
        *,
        idle_exit_seconds: float | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=Wire,
                ws="none",
                # Nothing is started or stopped with the application; the emulator is there already.
                lifespan="off",
                log_config=None,
                access_log=False,
                date_header=False,  # the emulator tells its own time
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )
        self._application, self._idle, self._on_start = application, idle_exit_seconds, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then say so."""
        await super().startup(sockets)
        self._on_start()

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to leave."""
        return await super().on_tick(counter) or self._is_idle()

    def _is_idle(self) -> bool:
        if self._idle is None or self._application.n_open:
            return False
        return monotonic() - self._application.last_call >= self._idle


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 picks a free one."""
    listener = socket.create_server((host, port), backlog=_BACKLOG)
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the base URL of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


@contextmanager
def serving(emulator: Emulator, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve an emulator from a thread for as long as the block runs; gives the base URL."""
    listener = listen(host, port)
    server = Server(Application(emulator))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, name="claude-emulator", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the emulator's server did not start")
            sleep(_MOMENT)
        yield url_of(listener)
    finally:
        # A stalled call is waited for one second, then dropped.
        server.should_exit = True
        thread.join()
        listener.close()


def serve(
    emulator: Emulator,
    listener: socket.socket,
    *,
    idle_exit_seconds: float | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Serve an emulator until a signal comes, or until nobody has called for a while."""
    Server(Application(emulator), idle_exit_seconds=idle_exit_seconds, on_start=on_start).run(sockets=[listener])


def write_ready(path: Path, url: str) -> None:
    """Tell other programs where the server is; they see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that two servers never write the same draft.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(orjson.dumps({"url": url, "pid": os.getpid()}))
    draft.replace(path)
