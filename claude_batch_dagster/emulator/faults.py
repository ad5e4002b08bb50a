"""Everything that can go wrong, asked for by name."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from threading import Lock
from typing import TypedDict, Unpack

from claude_batch_dagster.emulator.calls import ENDPOINTS, Call
from claude_batch_dagster.emulator.fault_names import (
    AFTER,
    CREATE,
    NAMES,
    RESULTS,
    ROW,
    SPOILING,
    STANDING,
    TIMED,
)
from claude_batch_dagster.emulator.ids import chance

_SECONDS = {"404_after_create": 5.0, "404_after_end": 5.0, "list_lag": 5.0, "slow_trickle": 0.05}
_OF_ONE_BATCH = frozenset(["empty_id_200", "wrong_count_200"])
_SHOWING_ONE_BATCH = frozenset(["", "create", "retrieve", "cancel"])
_BEFORE_CALL = frozenset(["connect_error", "drop_mid_body"])


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong: what, how often, and where."""

    name: str
    rate: float = 1.0
    """Share of rows or calls that are hit."""
    times: int | None = None
    """How many are hit before the fault is used up; None for no end."""
    endpoint: str = ""
    """Name of the endpoint it strikes; empty for its natural one."""
    method: str = ""
    path: str = ""
    """A pattern with `*` that the path must match."""
    key: str = ""
    """The API key that must have been used."""
    seconds: float | None = None
    """How long: of a timed fault, between pieces of a trickle, in a `retry-after`."""
    url: str = ""
    """Where a redirect or a foreign `results_url` leads."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent along with a faulty reply."""
    text: str = ""
    """Of a row fault: strikes requests whose message contains it; empty for all."""

    def __post_init__(self) -> None:
        """Refuse what could never strike."""
        if self.name not in NAMES:
            raise ValueError(f"there is no fault named {self.name!r}; there are {', '.join(sorted(NAMES))}")
        if self.endpoint and self.endpoint not in ENDPOINTS:
            raise ValueError(f"there is no endpoint named {self.endpoint!r}; there are {sorted(ENDPOINTS)}")
        if self.name in _OF_ONE_BATCH and self.endpoint not in _SHOWING_ONE_BATCH:
            raise ValueError(f"{self.name} needs a reply that shows one batch, and not that of {self.endpoint}")
        if self.text and self.name not in ROW:
            raise ValueError(f"{self.name} strikes calls, not requests, so it cannot be aimed at a text")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the rate of {self.name} is {self.rate}, and not between 0 and 1")

    @property
    def strikes_after(self) -> bool:
        """Whether the work is done before the fault strikes."""
        return self.name.endswith(AFTER) or self.name in SPOILING

    @property
    def strikes_unread(self) -> bool:
        """Whether the fault strikes before the body of the call was read."""
        return self.name in _BEFORE_CALL

    @property
    def lasting(self) -> float:
        """Seconds, with the default of this fault."""
        return _SECONDS.get(self.name, 1.0) if self.seconds is None else self.seconds

    def aims_at(self, call: Call) -> bool:
        """Whether this call is one that the fault may strike."""
        if self.endpoint:
            aimed = call.endpoint == self.endpoint
        elif self.name in RESULTS:
            aimed = call.endpoint == "results"
        elif self.name in CREATE or (self.name.endswith(AFTER) and not (self.method or self.path)):
            aimed = call.endpoint == "create"
        else:
            aimed = True
        return (
            aimed
            and self.method.upper() in {"", call.method}
            and (not self.path or fnmatchcase(call.path, self.path))
            and self.key in {"", call.key}
        )


class Options(TypedDict, total=False):
    """The fields of a `Fault` but its name."""

    rate: float
    times: int | None
    endpoint: str
    method: str
    path: str
    key: str
    seconds: float | None
    url: str
    headers: Mapping[str, str]
    text: str


class Faults:
    """The faults in force; the same seed strikes the same rows and calls."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._faults: list[Fault] = []
        self._struck: Counter[int] = Counter()
        self._lock = Lock()

    def add(self, name: str, **options: Unpack[Options]) -> Fault:
        """Put a fault in force; the options are the fields of `Fault`."""
        fault = Fault(name=name, **options)
        self.put(fault)
        return fault

    def put(self, fault: Fault) -> None:
        """Put a fault in force."""
        with self._lock:
            # An id may have belonged to a fault that is gone.
            self._struck[id(fault)] = 0
            self._faults = [*self._faults, fault]

    def clear(self, name: str = "") -> None:
        """Lift all faults, or those of one name."""
        with self._lock:
            self._faults = [fault for fault in self._faults if name and fault.name != name]

    def active(self) -> tuple[Fault, ...]:
        """Return the faults in force that are not used up, oldest first."""
        return tuple(fault for fault in self._faults if not self._spent(fault))

    def of_rows(self) -> tuple[Fault, ...]:
        """Return the faults that strike single requests."""
        return tuple(fault for fault in self.active() if fault.name in ROW)

    def lasting(self, name: str, call: Call) -> Fault | None:
        """Return the fault of that name that applies to this call for as long as it is in force."""
        return next((fault for fault in self.active() if fault.name == name and fault.aims_at(call)), None)

    def for_call(self, call: Call, number: int) -> Fault | None:
        """Return the fault that strikes this call, if any, and count it."""
        # These are looked up where they matter, and must not use up the one fault a call can have.
        apart = ROW | TIMED | STANDING | {"never_ends"}
        for fault in self.active():
            if fault.name not in apart and fault.aims_at(call) and self.strikes(fault, number):
                return fault
        return None

    def for_batch(self, name: str, call: Call, number: int) -> bool:
        """Whether a fault of whole batches strikes this one."""
        fault = self.lasting(name, call)
        return fault is not None and self.strikes(fault, number)

    def strikes(self, fault: Fault, *at: object) -> bool:
        """Decide by hash whether the fault strikes here, and count it if it does."""
        # By hash, not by a generator: the verdict must not depend on the order of the calls.
        if fault.rate < 1 and chance(self._seed, fault.name, *at) >= fault.rate:
            return False
        with self._lock:
            if self._spent(fault):
                return False
            self._struck[id(fault)] += 1
        return True

    def _spent(self, fault: Fault) -> bool:
        return fault.times is not None and self._struck[id(fault)] >= fault.times
