"""Pictures for the Dagster UI, drawn where gold rows are."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from claude_batch_dagster.core.reporting.gold import LabelShare
from claude_batch_dagster.quality.labels import Confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 30
"""Labels beyond which a picture of them all cannot be read: the most frequent ones are drawn."""

LONGEST = 24
"""Characters of a label in a picture."""

CELL_INCHES = 0.42
DARK_FROM = 0.5


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
