"""How numbers of things, and US dollars, are told."""

A_CENT = 0.01


def counted(n: int, one: str, many: str | None = None) -> str:
    """Tell a number of things: `many` are called by adding an s to `one` unless said otherwise."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def dollars(usd: float | None, *, unknown: str = "an unknown price") -> str:
    """Tell US dollars; small amounts are not rounded to nothing."""
    if usd is None:
        return unknown
    sign, size = "-" if usd < 0 else "", abs(usd)
    return f"{sign}${size:,.2f}" if size == 0 or size >= A_CENT else f"{sign}${size:.6f}"
