"""How much the emulator takes, and how fast it works."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much the API takes; None for as much as comes."""

    max_requests: int = 100_000
    """In one batch."""
    max_body_bytes: int = 256_000_000
    max_live_body_bytes: int = 32_000_000
    requests_per_minute: int | None = None
    """HTTP calls of a workspace."""
    queued_requests: int | None = None
    """Requests of a workspace that wait for their outcome."""


@dataclass(kw_only=True)
class Pace:
    """How long batches accepted from now on take to end."""

    batch_seconds: float
    request_seconds: float = 0
    """For each request, on top."""
    progressive_counts: bool = False
    """Whether counts move while a batch is processed; the documentation says they do not."""

    def seconds(self, n_requests: int) -> float:
        """Return how long a batch of that many requests takes."""
        return self.batch_seconds + self.request_seconds * n_requests
