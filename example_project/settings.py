"""What the environment says about the example, read once, checked and typed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
MAX_REQUESTS_PER_BATCH = 100_000


class SettingsError(ValueError):
    """An environment variable of the example has a value that cannot be used."""

    def __init__(self, name: str, value: str, problem: str) -> None:
        super().__init__(f"{name}={value!r} {problem}")
        self.name, self.value, self.problem = name, value, problem


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where the example keeps its things, which API it talks to and how fast."""

    home: Path
    """Absolute; everything the example writes is below it."""

    documents: Path | None
    """A JSON Lines file that replaces the built-in corpus."""

    api_key_is_set: bool
    """Whether there is a key; the key itself stays in the environment."""

    base_url: str | None
    poll_seconds: float | None
    quiet_period_seconds: float | None
    max_requests_per_batch: int | None

    @property
    def offline(self) -> bool:
        """With neither a key nor an address there is nobody to ask but the emulator."""
        return not self.api_key_is_set and self.base_url is None

    @property
    def warehouse(self) -> Path:
        """The DuckDB file with all tables of the example."""
        return self.home / "warehouse.duckdb"

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps its runs and events."""
        return self.home / "dagster_home"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read every setting, or raise SettingsError naming the first that is wrong."""
    # Set but empty counts as not set: that is how people switch a variable off for one command.
    values = {name: value.strip() for name, value in environ.items() if value.strip()}
    return Settings(
        home=_home(values),
        documents=_file("EXAMPLE_DOCUMENTS", values),
        api_key_is_set="ANTHROPIC_API_KEY" in values,
        base_url=_url("ANTHROPIC_BASE_URL", values),
        poll_seconds=_seconds("EXAMPLE_POLL_SECONDS", values, zero_is_fine=False),
        quiet_period_seconds=_seconds("EXAMPLE_QUIET_PERIOD_SECONDS", values, zero_is_fine=True),
        max_requests_per_batch=_count("EXAMPLE_MAX_REQUESTS_PER_BATCH", values),
    )


def has_own_documents(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a file replaces the built-in corpus; whether it can be read is told by `read_settings`."""
    return bool(environ.get("EXAMPLE_DOCUMENTS", "").strip())


def _home(values: Mapping[str, str]) -> Path:
    named = values.get("EXAMPLE_HOME")
    home = Path(named).expanduser().resolve() if named else CHECKOUT / ".example"
    if home.exists() and not home.is_dir():
        raise SettingsError("EXAMPLE_HOME", str(home), "is a file; name a directory, it is created when missing.")
    return home


def _file(name: str, values: Mapping[str, str]) -> Path | None:
    if name not in values:
        return None
    path = Path(values[name]).expanduser().resolve()
    if not path.is_file():
        raise SettingsError(name, values[name], "is no file; name a JSON Lines file or unset the variable.")
    return path


def _url(name: str, values: Mapping[str, str]) -> str | None:
    url = values.get(name)
    if url is not None and not url.startswith(("http://", "https://")):
        raise SettingsError(name, url, "is no address; it must start with http:// or https://.")
    return url


def _seconds(name: str, values: Mapping[str, str], *, zero_is_fine: bool) -> float | None:
    if name not in values:
        return None
    try:
        seconds = float(values[name])
    except ValueError:
        raise SettingsError(name, values[name], "is no number; give seconds, such as 2.5.") from None
    smallest = 0.0 if zero_is_fine else 0.01
    if not smallest <= seconds <= 86_400:  # noqa: PLR2004 - a day, longer than any batch lives
        raise SettingsError(name, values[name], f"is out of range; give {smallest:g} to 86400 seconds.")
    return seconds


def _count(name: str, values: Mapping[str, str]) -> int | None:
    if name not in values:
        return None
    try:
        count = int(values[name])
    except ValueError:
        raise SettingsError(name, values[name], "is no whole number; give one, such as 500.") from None
    if not 1 <= count <= MAX_REQUESTS_PER_BATCH:
        raise SettingsError(
            name, values[name], f"is out of range; a batch holds 1 to {MAX_REQUESTS_PER_BATCH} requests."
        )
    return count
