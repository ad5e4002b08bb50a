"""Who may call: keys, workspaces, versions, calls per minute."""

from collections import Counter
from collections.abc import Mapping
from threading import Lock

from claude_batch_dagster.emulator.calls import Call
from claude_batch_dagster.emulator.clock import Clock, stamp
from claude_batch_dagster.emulator.ids import identifier
from claude_batch_dagster.emulator.reply import ApiError, invalid

VERSIONS = ("2023-06-01", "2026-10-21")
ORGANIZATION = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"

_DEFAULT_WORKSPACE = identifier("wrkspc", "default")
_USUAL_CALLS_PER_MINUTE = 4000
_MINUTE = 60


class Access:
    """Checks what every call must carry."""

    def __init__(self, keys: Mapping[str, str] | None, clock: Clock, calls_per_minute: int | None) -> None:
        self._keys, self._clock, self._most = keys, clock, calls_per_minute
        self._calls: Counter[tuple[str, int]] = Counter()
        self._lock = Lock()

    def workspace(self, call: Call) -> str:
        """Return the workspace a call acts in, or refuse the call."""
        if not call.key:
            raise ApiError(status=401, kind="authentication_error", message="x-api-key header is required")
        if self._keys is not None and call.key not in self._keys:
            raise ApiError(status=401, kind="authentication_error", message="API key is invalid.")
        version = call.headers.get("anthropic-version", "")
        if not version:
            raise invalid("anthropic-version: header is required")
        if version not in VERSIONS:
            raise invalid(f'anthropic-version: "{version}" is not a valid version')
        return self.of_key(call.key)

    def of_key(self, key: str) -> str:
        """Return the workspace of a key, known or not."""
        return (self._keys or {}).get(key) or _DEFAULT_WORKSPACE

    def count(self, workspace: str) -> dict[str, str]:
        """Count a call; return the headers that tell how many are left."""
        now = self._clock.now()
        minute = int(now.timestamp()) // _MINUTE
        with self._lock:
            self._calls[workspace, minute] += 1
            used = self._calls[workspace, minute]
            # Only the present minute matters; the rest would pile up for as long as the server runs.
            if len(self._calls) > _MINUTE:
                self._calls = Counter({(workspace, minute): used})
        limit = self._most or _USUAL_CALLS_PER_MINUTE
        reset = now.fromtimestamp((minute + 1) * _MINUTE, now.tzinfo)
        return {
            "anthropic-ratelimit-requests-limit": str(limit),
            "anthropic-ratelimit-requests-remaining": str(max(limit - used, 0)),
            "anthropic-ratelimit-requests-reset": stamp(reset),
        }

    def refuse_haste(self, workspace: str) -> None:
        """Refuse a call beyond the calls per minute, if there is such a limit."""
        minute, second = divmod(int(self._clock.now().timestamp()), _MINUTE)
        if self._most is not None and self._calls[workspace, minute] >= self._most:
            raise ApiError(
                status=429,
                kind="rate_limit_error",
                message=f"This request would exceed the rate limit of {self._most} requests per minute.",
                headers={"retry-after": str(_MINUTE - second)},
            )
