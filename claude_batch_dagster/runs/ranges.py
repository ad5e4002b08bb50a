"""Runs that cover many partitions: which partitions can share one, and which ones a run is for."""

from collections.abc import Collection, Iterator, Sequence
from itertools import product

import dagster as dg

from claude_batch_dagster.runs.partitions import BETWEEN, RANGE_END, RANGE_START

Keys = Sequence[str | None]


def stretches(all_keys: Keys, wanted: Collection[str | None], *, grid: bool = False) -> list[list[str | None]]:
    """
    Group the wanted partitions into stretches without a gap, in the order of the partitions definition.

    In a grid, which two dimensions make, neighbors in the list are none: Dagster takes a range for the
    rectangle between its corners. There a stretch keeps to one line, along whichever dimension makes
    fewer of them.
    """
    if not grid:
        return list(_along(all_keys, wanted))
    rows, columns = _lines(all_keys, 0), _lines(all_keys, 1)
    found = [[stretch for line in lines for stretch in _along(line, wanted)] for lines in (rows, columns)]
    return min(found, key=len)


def _along(line: Keys, wanted: Collection[str | None]) -> Iterator[list[str | None]]:
    stretch: list[str | None] = []
    for key in line:
        if key in wanted:
            stretch.append(key)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _lines(keys: Keys, dimension: int) -> list[list[str | None]]:
    """Group keys that have the same part in one dimension."""
    lines: dict[str, list[str | None]] = {}
    for key in keys:
        lines.setdefault((key or "").split(BETWEEN)[dimension], []).append(key)
    return list(lines.values())


def partition_tags(keys: Keys) -> dict[str, str]:
    """Return the tags of a run over one stretch of partitions; none for an asset without partitions."""
    first, last = keys[0], keys[-1]
    return {} if first is None or last is None else {RANGE_START: str(first), RANGE_END: str(last)}


class Places:
    """Where each partition stands, to tell which ones a run is for without going through all of them."""

    def __init__(self, all_keys: Keys, *, grid: bool = False) -> None:
        """Take the keys as `all_keys` gives them."""
        self._grid = grid
        columns = zip(*(self._split(key) for key in all_keys), strict=True)
        self._dimensions = [list(dict.fromkeys(column)) for column in columns]
        self._places = [{key: n for n, key in enumerate(dimension)} for dimension in self._dimensions]

    def covered(self, run: dg.DagsterRun) -> set[str | None]:
        """Return the partitions that a run is for; of a range those that there still are."""
        first, last = run.tags.get(RANGE_START), run.tags.get(RANGE_END)
        if first is None or last is None:
            return {run.tags.get("dagster/partition")}
        corners = zip(self._dimensions, self._places, self._split(first), self._split(last), strict=False)
        spans = [
            dimension[places[low] : places[high] + 1] if low in places and high in places else []
            for dimension, places, low, high in corners
        ]
        return {BETWEEN.join(map(str, parts)) if self._grid else parts[0] for parts in product(*spans) if parts}

    def _split(self, key: str | None) -> Keys:
        return (key or "").split(BETWEEN) if self._grid else [key]
