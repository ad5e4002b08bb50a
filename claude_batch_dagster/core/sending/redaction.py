"""The API's own words, as far as they can be shown: a refusal may quote a document."""

from collections.abc import Iterable, Iterator

import orjson

MOST = 300
"""Characters of a message that are shown at most."""

WINDOW = 12
"""Characters: what a message and a request have in common is noticed if it is twice as long."""

WITHHELD = "(its words quote the request, so they are not shown)"


def shown(message: str, requests: Iterable[bytes]) -> str:
    """
    Return what can be shown of a message that answered these requests (their params, encoded).

    A message that repeats part of a request is cut before that part, so that the path of the field that the
    API objects to stays. Names of models may be repeated.
    """
    message = message[:MOST].encode(errors="replace").decode() + "…" * (len(message) > MOST)
    windows = dict(_windows(message))
    quoted = min((at for params in requests for at in _found(params, windows)), default=None)
    if quoted is None:
        return message
    kept = message[: max(quoted - WINDOW, 0)].rpartition(": ")[0]
    return f"{kept}: {WITHHELD}" if kept else WITHHELD


def _windows(message: str) -> Iterator[tuple[bytes, int]]:
    """Cut a message into windows, as JSON writes them, each with its place."""
    for at in range(0, len(message) - WINDOW + 1, WINDOW):
        yield orjson.dumps(message[at : at + WINDOW])[1:-1], at


def _found(params: bytes, windows: dict[bytes, int]) -> Iterator[int]:
    found = [at for window, at in windows.items() if window in params]
    if found:
        model = orjson.loads(params).get("model", "").encode()
        yield from (at for window, at in windows.items() if window in params.replace(model, b""))
