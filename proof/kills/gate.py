"""A gate at which processes wait until all of them are there."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

PATIENCE_SECONDS = 60.0


class Gate:
    """Opens once, for all who have come."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        host, port = listener.getsockname()
        self.address: tuple[str, int] = (host, port)

    def open(self, n_waiting: int) -> None:
        """Wait until so many processes stand before the gate, and let them through together."""
        with ExitStack() as stack:
            waiting = [stack.enter_context(self._listener.accept()[0]) for _ in range(n_waiting)]
            for connection in waiting:
                connection.sendall(b".")


@contextmanager
def gate() -> Iterator[Gate]:
    """Give a gate that is shut."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_SECONDS)
        yield Gate(listener)


def wait_at(address: tuple[str, int]) -> None:
    """Stand before a gate until it opens."""
    host, port = address
    with socket.create_connection((host, port)) as connection:
        connection.recv(1)
