"""Two runs of the engine at once: at each call one of them goes on, chosen by a seed."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Condition, Thread

from proof.simulation.runs import Order, Ran, prepare
from proof.simulation.world import SimulatedWorld


class DeadlockError(Exception):
    """No run can go on."""


@dataclass(eq=False)
class _Player:
    """What one run is doing."""

    wakes_at: datetime | None = None
    wants: str | None = None
    """The lock it waits for."""
    done: bool = False


@dataclass
class Baton:
    """Only who holds the baton moves. A sleeper gets it when its time has come, a waiter when the lock is free."""

    world: SimulatedWorld
    seed: int
    players: list[_Player] = field(default_factory=list)
    _held: dict[str, _Player] = field(default_factory=dict)
    _turn: _Player | None = None
    _changed: Condition = field(default_factory=Condition)
    _stuck: bool = False

    def __post_init__(self) -> None:
        """Seed the choice of who goes on."""
        self._chance = random.Random(self.seed)

    def enter(self) -> "Turn":
        """Return the part of one more run."""
        player = _Player()
        self.players.append(player)
        return Turn(self, player)

    def start(self) -> None:
        """Choose who goes first."""
        with self._changed:
            self._choose()

    def await_turn(self, player: _Player) -> None:
        """Stand still until the baton comes."""
        with self._changed:
            self._wait(player)

    def pass_on(self, player: _Player) -> None:
        """Let somebody go on, and come back when it is this one's turn."""
        with self._changed:
            self._choose()
            if not player.done:
                self._wait(player)

    def take(self, player: _Player, name: str) -> None:
        """Wait for a lock and hold it."""
        player.wants = name
        self.pass_on(player)
        player.wants = None
        self._held[name] = player

    def give_back(self, name: str) -> None:
        """Let go of a lock."""
        del self._held[name]

    def _wait(self, player: _Player) -> None:
        self._changed.wait_for(lambda: self._turn is player or self._stuck)
        if self._stuck:
            raise DeadlockError("each run waits for the other")

    def _choose(self) -> None:
        playing = [player for player in self.players if not player.done]
        if not (able := self._able(playing)):
            sleepers = [player.wakes_at for player in playing if player.wakes_at]
            if sleepers:
                self.world.pass_time((min(sleepers) - self.world.now()).total_seconds())
                able = self._able(playing)
        if able:
            self._turn = self._chance.choice(able)
        self._stuck = bool(playing) and not able
        self._changed.notify_all()

    def _able(self, playing: list[_Player]) -> list[_Player]:
        now = self.world.now()
        return [
            player
            for player in playing
            if player.wants not in self._held and (player.wakes_at is None or player.wakes_at <= now)
        ]


@dataclass(frozen=True)
class Turn:
    """The part of one run: its `Turns`."""

    baton: Baton
    player: _Player

    def next(self) -> None:
        """Let the other go first, perhaps."""
        self.baton.pass_on(self.player)

    def sleep(self, seconds: float) -> None:
        """Come back after `seconds`."""
        self.player.wakes_at = self.baton.world.now() + timedelta(seconds=seconds)
        self.baton.pass_on(self.player)
        self.player.wakes_at = None

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold a lock until the end of the block or of the process."""
        self.baton.take(self.player, name)
        try:
            yield
        finally:
            self.baton.give_back(name)


def run_side_by_side(world: SimulatedWorld, orders: Sequence[Order], *, seed: int) -> list[Ran]:
    """Run the engine several times at once."""
    baton = Baton(world, seed)
    turns = [baton.enter() for _ in orders]
    prepared = [prepare(world, order, turn) for order, turn in zip(orders, turns, strict=True)]

    def play(turn: Turn, go: Callable[[], None]) -> None:
        baton.await_turn(turn.player)
        try:
            go()
        finally:
            turn.player.done = True
            baton.pass_on(turn.player)

    threads = [Thread(target=play, args=(turn, go), daemon=True) for turn, (_, go) in zip(turns, prepared, strict=True)]
    for thread in threads:
        thread.start()
    baton.start()
    for thread in threads:
        thread.join()
    return [ran for ran, _ in prepared]
