"""
Ask the requests of a chunk one by one, through the Messages API, at once and at its price.

That API hands an answer out once, so each is in a journal, on disk, before anything else happens. A journal has three
kinds of lines: that the last byte of a request is about to leave, that it came to nothing and cost nothing, and what
came back. `seal` makes of it what the results of a batch would be, and from there on the two ways are one.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

import orjson

from claude_batch_dagster.core.collecting.answer_records import KEPT_IN
from claude_batch_dagster.core.collecting.results import UnreadableLineError, decode
from claude_batch_dagster.core.ledger import LIVE_PREFIX, ChunkRecord, Ledger, State
from claude_batch_dagster.core.ports import Body, Clock, Journals, LiveApi, Spool
from claude_batch_dagster.core.sending.chunks import Chunk
from claude_batch_dagster.core.sending.gate import gated
from claude_batch_dagster.core.verdicts import NOT_ASKED
from claude_batch_dagster.errors import ApiError, ApiRefusedError, CredentialError, SpendLimitError, SpoolError

TRIES = 8
"""How often a request is offered that the API refuses for a while."""

LONGEST_PAUSE_SECONDS = 60.0

MOST_UNHEARD = 3
"""Answers that are lost one after the other before no more is asked: each of them may have been paid for."""

FINAL = frozenset({400, 404, 413, 422})
"""Statuses by which the API refuses the request itself, when they come with its error envelope."""

PASSING = frozenset({429, 500, 503, 529})
"""Statuses that say: not now; an answer that is an error is not billed (Claude docs, "Errors")."""

ENDS_RUN = (CredentialError, SpendLimitError)
"""What stands against every further request."""

BEGAN, FREED, LOST = (b'{"type":"%b"}' % what for what in (b"began", b"freed", b"unheard"))
"""What a journal says of a request where it is no result: see above; and the result of one whose answer was lost."""


@dataclass(frozen=True, kw_only=True)
class LiveLane:
    """Asks chunks live. The caller holds the pipeline's lock, and has written down the intent."""

    api: LiveApi
    ledger: Ledger
    clock: Clock
    journals: Journals
    spool: Spool
    n_at_once: int = 8
    """Requests that are asked at the same time."""

    def ask(self, chunk: Chunk) -> ApiError | None:
        """
        Ask every request of a chunk; its state is `ENDED` then, and each of them has its line in the spool.

        Returns what stood against going on, if anything did: of the requests that were not asked it is written down
        that they were not.
        """
        with self.journals.writing(chunk.nonce) as write:
            self.ledger.move(
                chunk.nonce,
                to=State.RELEASED,
                released_at=self.clock.now(),
                note=f"{KEPT_IN}{self.journals.place}",
            )
            asking = _Asking(api=self.api, clock=self.clock, write=write)
            asking.all_of(chunk, n_at_once=self.n_at_once)
        self.seal(self.ledger.chunk(chunk.nonce))
        return asking.trouble

    def is_asking(self, chunk: ChunkRecord) -> bool:
        """Whether a process on this machine is asking the requests of a chunk at this moment."""
        return self.journals.is_written(chunk.chunk_id)

    def seal(self, chunk: ChunkRecord) -> bool:
        """
        Make results of the journal of a chunk, whoever has written it; `False` if it is not here.

        Of a request whose last byte may have left, and of which nothing is written behind that, the answer is lost.
        """
        if not self.journals.has(chunk.chunk_id):
            return False
        batch_id = f"{LIVE_PREFIX}{chunk.chunk_id}"
        custom_ids = self.ledger.requests(chunk.chunk_id).custom_ids
        came = dict(_last_words(self.journals.lines(chunk.chunk_id)))
        not_asked = _errored(NOT_ASKED, "the run ended before it was asked, or the API did not take it")
        results = (_line(one, came.get(one) or not_asked) for one in custom_ids)
        self.spool.write(batch_id, (result + b"\n" for result in results))
        self.ledger.move(
            chunk.chunk_id,
            to=State.ENDED,
            batch_id=batch_id,
            batch_created_at=chunk.released_at or chunk.intended_at,
            ended_at=self.clock.now(),
        )
        self.journals.discard(chunk.chunk_id)
        return True


@dataclass(kw_only=True)
class _Asking:
    """The requests of one chunk, while they are asked."""

    api: LiveApi
    clock: Clock
    write: Callable[[bytes], None]
    trouble: ApiError | None = None
    n_unheard: int = 0
    """Answers that were lost since the last one that was not."""
    stopped: Event = field(default_factory=Event)

    def all_of(self, chunk: Chunk, *, n_at_once: int) -> None:
        requests = zip(chunk.custom_ids, [row.params for row in chunk.rows], strict=True)
        if n_at_once == 1:
            for custom_id, params in requests:
                self.one(custom_id, params)
            return
        with ThreadPoolExecutor(n_at_once, thread_name_prefix="claude-live") as pool:
            try:
                for asked in [pool.submit(self.one, *request) for request in requests]:
                    asked.result()
            except BaseException:
                self.stopped.set()  # those that are under way end, and write down what they get
                raise

    def one(self, custom_id: str, params: bytes) -> None:
        """Ask one request, in spite of passing refusals, and write down what becomes of it."""
        for n_tries in range(TRIES):
            if self.stopped.is_set():
                return
            if result := self._tried(custom_id, params, n_tries):
                self._keep(_line(custom_id, result))
                return

    def _keep(self, line: bytes) -> None:
        """Write down what came back; a disk that is full for a moment costs no answer."""
        for n_tries in range(TRIES):
            try:
                self.write(line)
            except SpoolError:
                if n_tries == TRIES - 1:
                    raise
                self.clock.sleep(1.0)
            else:
                return

    def _tried(self, custom_id: str, params: bytes, n_tries: int) -> bytes | None:
        """Offer a request once; return what became of it, None if that is nothing so far."""
        left: list[bool] = []

        def release() -> None:
            self.write(_line(custom_id, BEGAN))
            left.append(True)

        try:
            message = self.api.ask(gated(Body(pieces=[params], n_bytes=len(params)), release))
        except ApiError as error:
            if isinstance(error, ENDS_RUN):
                self._stop(error)
            if left and not _costs_nothing(error):
                self._miss(error)
                return LOST
            if left:
                self.write(_line(custom_id, FREED))
            if isinstance(error, ENDS_RUN):
                return None
            if isinstance(error, ApiRefusedError) and error.status in FINAL:
                return _errored(error.kind or "", error.message)
            self._pause(error, n_tries)
            return None
        self.n_unheard = 0
        return b'{"type":"succeeded","message":%b}' % b" ".join(message.splitlines())

    def _miss(self, error: ApiError) -> None:
        """Wait after an answer that was lost; after some in a row, ask no more: the way there is broken."""
        self.n_unheard += 1
        if self.n_unheard >= MOST_UNHEARD:
            self._stop(error)
        self._pause(error, self.n_unheard)

    def _stop(self, error: ApiError) -> None:
        self.trouble = error
        self.stopped.set()

    def _pause(self, error: ApiError, n_tries: int) -> None:
        told = error.retry_after_seconds if isinstance(error, ApiRefusedError) else None
        left = min(2.0**n_tries if told is None else told, LONGEST_PAUSE_SECONDS)
        while left > 0 and not self.stopped.is_set():
            self.clock.sleep(min(left, 1.0))
            left -= 1.0


def _costs_nothing(error: ApiError) -> bool:
    """Whether the answer to a request that has left whole says that nothing was billed for it."""
    if not isinstance(error, ApiRefusedError) or error.kind is None:
        return False
    return error.status in FINAL | PASSING or isinstance(error, ENDS_RUN)


def _errored(kind: str, message: str) -> bytes:
    """Write an error as the results of a batch do."""
    text = message.encode(errors="replace").decode()
    return orjson.dumps({"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": text}}})


def _line(custom_id: str, result: bytes) -> bytes:
    return b'{"custom_id":"%b","result":%b}' % (custom_id.encode(), result)


def _last_words(lines: Iterator[bytes]) -> Iterator[tuple[str, bytes | None]]:
    """Yield what is written of each request, in order: a result, or none where it cost nothing."""
    for line in lines:
        head, _, rest = line.partition(b'","result":')
        custom_id, result = head.removeprefix(b'{"custom_id":"').decode(errors="replace"), rest[:-1]
        if result in {BEGAN, FREED}:
            yield custom_id, LOST if result == BEGAN else None
            continue
        with suppress(UnreadableLineError):  # torn: its writer was killed, and what it was to say is not known
            yield decode(line).custom_id, result
