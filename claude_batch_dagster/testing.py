"""
A pytest fixture for pipelines that ask Claude: `claude`, an emulated one that costs nothing and answers at once.

pytest finds it by itself wherever the package is installed. A page of the docs, `docs/testing.md`, shows its use.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pytest

if TYPE_CHECKING:
    import dagster as dg
    from dagster_duckdb import DuckDBResource

    from claude_batch_dagster.emulator import Emulator, Fault
    from claude_batch_dagster.emulator.faults import Options
    from claude_batch_dagster.emulator.scripts import Asked
    from claude_batch_dagster.resource import ClaudeBatchResource

__all__ = ["EmulatedClaude", "claude"]

QUICK = {"poll_interval_seconds": 0.02, "max_poll_interval_seconds": 0.1, "quiet_period_seconds": 0.2}
"""Settings under which a run waits for nothing but its batches, which take no time."""


@dataclass(frozen=True)
class EmulatedClaude:
    """
    A Message Batches API on this machine, for one test.

    While the test runs `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` name it, so a resource that takes them from the
    environment asks it. Answers that are not written down are made up: a choice among labels by comparing words.
    """

    base_url: str
    emulator: "Emulator"

    def resource(self, database: "str | DuckDBResource", **settings: Any) -> "ClaudeBatchResource":
        """Return a resource that asks it, over a DuckDB file or a `DuckDBResource`, with these settings of it."""
        from dagster_duckdb import DuckDBResource  # noqa: PLC0415  (every pytest of an environment imports this module)

        from claude_batch_dagster.resource import ClaudeBatchResource  # noqa: PLC0415  (as above)

        opened = DuckDBResource(database=database) if isinstance(database, str) else database
        given: dict[str, Any] = {"api_key": "emulated", "base_url": self.base_url, **QUICK, **settings}
        return ClaudeBatchResource(database=opened, **given)

    def materialize(
        self, asset: "dg.AssetsDefinition | Path | str", database: "str | DuckDBResource", **options: Any
    ) -> "dg.ExecuteInProcessResult":
        """
        Materialize an asset over a database of the test's own, whatever resource the project declares for it.

        The asset of a component is named by the folder of its YAML file: `"src/support/defs/my_labels"`. `options` are
        those of `dagster.materialize`: `partition_key`, `raise_on_error`, further `resources`.
        """
        import dagster as dg  # noqa: PLC0415  (as above)

        from claude_batch_dagster.assets.registry import declaration_of  # noqa: PLC0415  (as above)
        from claude_batch_dagster.component.claude_batch import ClaudeBatchComponent  # noqa: PLC0415  (as above)

        if isinstance(asset, dg.AssetsDefinition):
            made = asset
        else:
            folder = Path(asset).absolute()
            tree = dg.ComponentTree.for_project(folder)
            made = tree.load_component(folder, expected_type=ClaudeBatchComponent).build_asset()
        resources = {declaration_of(made).resource_key: self.resource(database), **options.pop("resources", {})}
        return dg.materialize([made], resources=resources, **options)

    def answers(self, asked: "Asked", /, **fields: Any) -> None:
        """
        Write an answer down, for every row whose message contains a text, or for which a function of it is true.

        Fields that are not written down are made up. Of several answers that fit, the last counts, from the next batch
        on. Raises `TypeError` for what cannot be an answer; a field that the schema does not have, or a function that
        raises, fails the test when it ends.
        """
        if not fields:
            raise TypeError("answers() takes the fields of an answer; for a whole text there is answers_text()")
        self.emulator.answers.add(asked, fields)

    def answers_text(self, asked: "Asked", text: str, /) -> None:
        """Write a whole answer down, such as one that is no JSON."""
        self.emulator.answers.add(asked, text)

    def fault(self, name: str, **options: "Unpack[Options]") -> "Fault":
        """
        Let something go wrong, by name.

        Rows can be struck by `errored`, `expired`, `refusal`, `max_tokens`, `not_json`, `misfit` and others, calls by
        `429`, `500`, `529`, `drop_after_accept` and others. `rate` is the share that is struck, `times` how many are,
        `text` aims at rows whose message contains it. Raises `ValueError`, with all names, for one that there is not.
        """
        return self.emulator.faults.add(name, **options)

    def nothing_is_wrong(self) -> None:
        """Lift all faults."""
        self.emulator.faults.clear()

    @property
    def n_requests(self) -> int:
        """Requests of all batches accepted so far."""
        return sum(batch.n_requests for batch in self.emulator.audit.accepted())

    @property
    def n_billed(self) -> int:
        """Requests answered so far, in a batch or live: those that Claude would have billed."""
        return self.emulator.audit.billed().total()

    @property
    def billed_twice(self) -> int:
        """Answers billed beyond one for each different request: 0, unless something is wrong."""
        return sum((self.emulator.audit.billed() - Counter(self.emulator.audit.billed().keys())).values())

    @property
    def n_batches(self) -> int:
        """Batches accepted so far."""
        return len(self.emulator.audit.accepted())

    @property
    def messages(self) -> list[str]:
        """What was asked: the user message of each request of a batch so far, sorted."""
        from claude_batch_dagster.emulator.reading import last_user_text  # noqa: PLC0415  (as above)

        return sorted(last_user_text(params) for params in self.emulator.audit.asked())


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedClaude]:
    """Emulate Claude's Message Batches API: it answers at once, and remembers what it would have billed."""
    from claude_batch_dagster.emulator import Emulator, SystemClock, serving  # noqa: PLC0415  (as above)

    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with serving(emulator) as base_url:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", base_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "emulated")
        yield EmulatedClaude(base_url, emulator)
    emulator.close()
    if problems := emulator.answers.problems:
        raise problems[0]
