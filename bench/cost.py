"""`python -m bench.cost` writes the price tables of docs/cost.md, and their picture, by the price list it finds."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import version
from pathlib import Path

from claude_batch_dagster.client import MODELS
from claude_batch_dagster.core.caching import LEAST_SAVED_USD, Wave, costs_of, priming_pays, smallest_prefix
from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.models import DATED
from claude_batch_dagster.core.pricing import Cost, cost

DOCS = Path(__file__).parent.parent / "docs"
PAGE, PICTURE = DOCS / "cost.md", DOCS / "images" / "cost.svg"
START, END = "<!-- prices: written by `make prices` -->\n", "<!-- end of prices -->\n"

N_DOCUMENTS = 10_000
N_CHANGED = N_DOCUMENTS // 100
READS = 0.98
"""The share of requests that read a cache that was primed: the best that the documentation of the API speaks of."""

FAMILY = re.compile(r"claude-(haiku|sonnet|opus|fable)-")
"""Families in the picture; Mythos, which is not for everybody, costs what Fable costs."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is asked of each document, in tokens."""

    guide: int
    """That all requests begin with."""
    document: int
    answer: int = 100


SHORT, GUIDED = Table(guide=0, document=500), Table(guide=600, document=150)


@dataclass(frozen=True, kw_only=True)
class Bill:
    """US dollars for a table, by the way it is asked."""

    live: float
    batch: float
    cached: float | None
    """None where the guide is too short for the model."""
    input_saved: float
    """The share of the input's price in a batch that caching saves."""
    again: float
    """For a second run, in which one row of a hundred has changed."""


def bill_of(model: str, table: Table) -> Bill | None:
    """Compute what a table costs; None for a model that the price list does not have."""
    one, answer = cost(model, _usage(table)), cost(model, Usage(output_tokens=table.answer))
    costs, later = (costs_of(_wave(model, table, n), reads=READS) for n in (N_DOCUMENTS, N_CHANGED))
    if one is None or answer is None or costs is None or later is None:
        return None
    is_cached = table.guide >= smallest_prefix(model)
    pays_again = priming_pays(_wave(model, table, N_CHANGED), reads=READS)
    return Bill(
        live=N_DOCUMENTS * one.live_usd,
        batch=N_DOCUMENTS * one.batch_usd,
        cached=costs.primed + N_DOCUMENTS * answer.batch_usd if is_cached else None,
        input_saved=1 - costs.primed / costs.uncached,
        again=(later.primed if pays_again else later.uncached) + N_CHANGED * answer.batch_usd,
    )


def _usage(table: Table) -> Usage:
    return Usage(input_tokens=table.guide + table.document, output_tokens=table.answer)


def _wave(model: str, table: Table, n: int) -> Wave:
    return Wave(model=model, n_requests=n, prefix_tokens=table.guide, rest_tokens=table.document)


def current_models() -> Iterator[str]:
    """Yield the models that stay, newest first; a snapshot is the model it is of."""
    yield from (name for name in MODELS.names if name not in MODELS.ends and not DATED.search(name))


def tables() -> Iterator[str]:
    """Yield the lines of the page that are made."""
    models = list(current_models())
    unpriced = [f"`{name}`" for name in models if cost(name, Usage(input_tokens=1)) is None]
    yield _paragraph(
        f"US dollars for {N_DOCUMENTS:,} documents, by the prices of genai-prices {version('genai-prices')}, for the "
        f"current models of the SDK, anthropic {version('anthropic')}."
        + (f" The price list does not have {', '.join(unpriced)}." if unpriced else "")
    )
    yield f"### Documents of {SHORT.document} tokens\n"
    yield _paragraph(
        f"{SHORT.document} tokens of input each, instructions included, and {SHORT.answer} of output. No model caches "
        f"fewer than {min(map(smallest_prefix, models))} tokens, so there is nothing to cache."
    )
    yield "| model | live | batch | again, 1 % changed |"
    yield "| --- | --: | --: | --: |"
    for name, bill in _bills(models, SHORT):
        yield f"| `{name}` | {usd(bill.live)} | **{usd(bill.batch)}** | {usd(bill.again)} |"
    yield f"\n### A guide of {GUIDED.guide} tokens before documents of {GUIDED.document}\n"
    yield _paragraph(
        f"{GUIDED.guide + GUIDED.document} tokens of input each, the first {GUIDED.guide} the same for all, and "
        f"{GUIDED.answer} of output. Of the requests behind the first, {100 * READS:.0f} % read the cache. In brackets "
        "is how much less the input costs than in a batch without caching; a dash where the guide is too short for the "
        f"model. The second run caches where that saves more than {100 * LEAST_SAVED_USD:.0f} cent."
    )
    yield "![Dollars for the same table: live, in a batch, in a batch with caching, and again](images/cost.svg)\n"
    yield "| model | caches from | live | batch | batch with caching | again, 1 % changed |"
    yield "| --- | --: | --: | --: | --: | --: |"
    for name, bill in _bills(models, GUIDED):
        cached = "-" if bill.cached is None else f"**{usd(bill.cached)}** ({100 * bill.input_saved:.0f} %)"
        cells = (f"`{name}`", f"{smallest_prefix(name):,}", usd(bill.live), usd(bill.batch), cached, usd(bill.again))
        yield f"| {' | '.join(cells)} |"


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 118) + "\n"


def _bills(models: list[str], table: Table) -> Iterator[tuple[str, Bill]]:
    yield from ((name, bill) for name in models if (bill := bill_of(name, table)))


def usd(amount: float) -> str:
    """Write dollars with cents, below ten cents with a tenth of one."""
    exact = Decimal(f"{amount:.9f}")  # halves are halves again
    places = Decimal("0.01") if exact >= Decimal("0.1") else Decimal("0.001")
    return f"${exact.quantize(places, ROUND_HALF_UP):,}"


def whole_page(page: str) -> str:
    """Return the page with its made part made anew; all else stays as it is."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    made = "\n".join(tables())
    return f"{before}{START}\n{made}\n\n{END}{after}"


INK, GRAY, PAPER = "#1f1d36", "#5b5a72", "#fff"
WIDTH, LEFT, BAR, GAP, PANEL = 860, 250, 16, 5, 106
LONGEST = WIDTH - LEFT - 90
WAYS = (("live", "#c9c7da"), ("batch", "#8f87ea"), ("batch with caching", "#4f43dd"), ("again, 1 % changed", "#f0a020"))


def picture() -> str:
    """Draw the dollars of the newest model of each family, each by a scale of its own."""
    newest: dict[str, str] = {}
    for name in current_models():
        if match := FAMILY.match(name):
            newest.setdefault(match[1], name)
    drawn = list(_bills(sorted(newest.values(), key=_live_price), GUIDED))
    panels = "\n".join(_panel(n, name, bill) for n, (name, bill) in enumerate(drawn))
    height = 66 + PANEL * len(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>\n'
        f'<text x="20" y="32" font-size="16" font-weight="600">US dollars for {N_DOCUMENTS:,} documents</text>\n'
        f'<text x="20" y="52" font-size="12" fill="{GRAY}">A guide of {GUIDED.guide} tokens, documents of '
        f"{GUIDED.document}, answers of {GUIDED.answer}. Each model has a scale of its own.</text>\n"
        f"{panels}\n</svg>\n"
    )


def _live_price(model: str) -> float:
    return (cost(model, Usage(output_tokens=1)) or Cost(0, 0)).live_usd


def _panel(place: int, name: str, bill: Bill) -> str:
    top = 70 + PANEL * place
    lines = [f'<text x="20" y="{top + 13}" font-weight="600">{name}</text>']
    amounts = (bill.live, bill.batch, bill.cached, bill.again)
    shown = [(way, color, amount) for (way, color), amount in zip(WAYS, amounts, strict=True) if amount is not None]
    for n, (way, color, amount) in enumerate(shown):
        y, length = top + n * (BAR + GAP), max(2.0, LONGEST * amount / bill.live)
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" font-size="12" fill="{GRAY}">{way}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{color}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}" font-size="12">{usd(amount)}</text>',
        ]
    return "\n".join(lines)


def main() -> None:
    """Write the tables and the picture."""
    PAGE.write_text(whole_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
