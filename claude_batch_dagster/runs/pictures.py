"""Pictures for the Dagster UI, drawn where gold rows are."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from claude_batch_dagster.core.reporting.gold import LabelShare
from claude_batch_dagster.quality.intervals import Interval, percent
from claude_batch_dagster.quality.labels import Confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 30
"""Labels beyond which a picture of them all cannot be read: the most frequent ones are drawn."""

LONGEST = 24
"""Characters of a label in a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a candidate of a trial is in its picture."""

    name: str
    usd_per_1000: float
    """US dollars for 1,000 rows."""
    accuracy: Interval
    on_frontier: bool
    is_named: bool


CELL_INCHES = 0.42
DARK_FROM = 0.5

CANDIDATES_INCHES = (7.0, 4.2)
ROOM = 2.5
"""How many times as much as the dearest candidate there is room for in its picture."""


def confusion_picture(confusion: Confusion) -> str:
    """
    Draw which labels were taken for which: true labels downwards, answers across, shares of each true label.

    Returns a markdown image, the one form in which the UI shows a picture.
    """
    names, counts = confusion.labels[:LARGEST], confusion.counts[:LARGEST, :LARGEST]
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / totals.clip(min=1e-12)
    figure = _figure(len(names))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Purples", vmin=0, vmax=1)
    shown = [_short(name) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), shown, fontsize=8)
    axes.set_xlabel("answer", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    for row, column in zip(*counts.nonzero(), strict=True):
        color = "white" if shares[row, column] > DARK_FROM else "black"
        axes.text(column, row, f"{counts[row, column]:g}", ha="center", va="center", fontsize=8, color=color)
    return markdown_image(figure, "Answers by true label")


def markdown_image(figure: "Figure", alt: str) -> str:
    """Return a figure as a markdown image with a data address."""
    written = BytesIO()
    figure.savefig(written, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return f"![{alt}](data:image/png;base64,{base64.b64encode(written.getvalue()).decode()})"


def _figure(n: int) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415  (half a second, and only where there are gold rows)

    size = max(3.0, CELL_INCHES * n + 1)
    return Figure(figsize=(size, size))


def _short(name: object) -> str:
    text = "no answer" if name is None else str(name)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def shares_picture(shares: Sequence[LabelShare]) -> str:
    """Draw the share of each label: what was answered as a mark, what is known of the truth as a band."""
    shown = sorted(shares, key=lambda one: one.share)[-LARGEST:]
    places = range(len(shown))
    figure = _figure(len(shown))
    axes = figure.add_subplot()
    axes.hlines(
        places, [one.share_low for one in shown], [one.share_high for one in shown], linewidth=6, color="#c9c2ee"
    )
    axes.plot([one.share for one in shown], places, "|", markersize=11, color="#3d2f8f", label="share, with 95 % band")
    axes.plot([one.answered_share for one in shown], places, "o", markersize=4, color="#d9730d", label="as answered")
    axes.set_yticks(places, [_short(one.label) for one in shown], fontsize=8)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.set_xlim(left=0)
    axes.tick_params(axis="x", labelsize=8)
    # Above the axes: wherever it stood within, some table has a band there.
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return markdown_image(figure, "Shares of labels")


def candidates_picture(spots: Sequence[Spot], *, bar: float) -> str:
    """
    Draw what 1,000 rows cost against how many are right, with intervals: the frontier as a line, the bar dashed.

    A candidate that cost nothing, for it has answered nothing, has no place on an axis of powers of ten, and is left
    out.
    """
    shown = sorted((spot for spot in spots if spot.usd_per_1000 > 0), key=lambda spot: spot.usd_per_1000)
    frontier = [spot for spot in shown if spot.on_frontier]
    figure = _figure(1)
    figure.set_size_inches(*CANDIDATES_INCHES)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.axhline(bar, linestyle="--", linewidth=1, color="#d9730d", label=f"bar: {percent(bar)}")
    axes.plot(
        [spot.usd_per_1000 for spot in frontier],
        [spot.accuracy.estimate for spot in frontier],
        color="#c9c2ee",
        label="frontier: none is as cheap and as accurate",
    )
    for spot in shown:
        share, color = spot.accuracy.estimate, "#3d2f8f" if spot.on_frontier else "#9a9a9a"
        marker, size = ("*", 13) if spot.is_named else ("o", 5)
        axes.vlines(spot.usd_per_1000, spot.accuracy.low, spot.accuracy.high, linewidth=1.5, color=color)
        axes.plot([spot.usd_per_1000], [share], marker=marker, markersize=size, color=color)
        name = f"{_short(spot.name)} (named)" if spot.is_named else _short(spot.name)
        axes.annotate(name, (spot.usd_per_1000, share), xytext=(6, 4), textcoords="offset points", fontsize=8)
    if shown:
        axes.set_xlim(shown[0].usd_per_1000 / ROOM, shown[-1].usd_per_1000 * ROOM**2)  # names stand to the right
    axes.xaxis.set_major_formatter(lambda usd, _: f"${usd:g}")
    axes.minorticks_off()
    axes.set_xlabel("US dollars for 1,000 rows", fontsize=9)
    axes.set_ylabel("accuracy, with 95 % intervals", fontsize=9)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, loc="lower right")
    return markdown_image(figure, "Candidates by cost and accuracy")
