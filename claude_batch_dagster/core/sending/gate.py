"""The gate before the last byte: what has not left whole cannot be accepted, and what may have left is written down."""

from collections.abc import Callable, Iterator

from claude_batch_dagster.core.ports import Body


def gated(body: Body, release: Callable[[], object]) -> Body:
    """Withhold the last byte until `release` has returned: a crash before that sent nothing whole."""

    def pieces() -> Iterator[bytes]:
        held = b""
        for piece in body.pieces:
            if held:
                yield held
            held = piece
        yield held[:-1]
        release()
        yield held[-1:]

    return Body(pieces=pieces(), n_bytes=body.n_bytes)
