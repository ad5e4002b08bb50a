"""Check-up of the API: the key, the address, who answers, and what time it is there."""

from collections.abc import Iterator
from datetime import timedelta

from claude_batch_dagster.cli.connection import KEY, api_key, connected
from claude_batch_dagster.cli.doctor.findings import Finding, ok, problem, warning
from claude_batch_dagster.cli.options import Options
from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.sending.listing import SKEW
from claude_batch_dagster.errors import ApiError, ConfigurationError, CredentialError

OFFICIAL = "https://api.anthropic.com"

NOTICEABLE = timedelta(minutes=1)
"""A difference between two clocks that is not the way of the answer."""


def look(options: Options) -> Iterator[Finding]:
    """Make one call and tell what it shows."""
    try:
        api_key()
    except ConfigurationError as error:
        yield problem("API key", str(error), "Create one in the Claude Console and export it.")
        return
    try:
        with connected(options) as api:
            yield from _ask(api, options)
    except ConfigurationError as error:
        yield problem("base URL", str(error), "Mend --base-url or ANTHROPIC_BASE_URL, or unset it.")


def _ask(api: AnthropicBatches, options: Options) -> Iterator[Finding]:
    base_url, workspace_id, _ = api.account.rsplit(" ", 2)
    before = options.clock.now()
    try:
        page = api.list_batches(limit=1)
        answerer = api.answerer
    except CredentialError as error:
        yield problem("API key", f"{KEY} is set and not accepted: {error}", "Set a key of the right workspace.")
        return
    except ApiError as error:
        yield problem("base URL", f"{base_url}: {error}", "Check the network, the proxy and the address.")
        return
    half_way = before + (options.clock.now() - before) / 2
    yield ok("API key", f"{KEY} is set and accepted")
    yield ok("base URL", base_url)
    yield ok("workspace", "that of the key" if workspace_id == "default" else workspace_id)
    yield _answers(answerer, base_url)
    if page.served_at is not None:
        yield _clock(half_way - page.served_at)


def _answers(answerer: str, base_url: str) -> Finding:
    if answerer:
        return warning(
            "answers", f"of the {answerer}, not Claude's; they cost nothing", "For Claude's, unset the base URL."
        )
    return ok("answers", "Claude's" if base_url == OFFICIAL else "of what serves the base URL; it is not our emulator")


def _clock(ahead: timedelta) -> Finding:
    """Tell how far this machine's clock is from the API's, which tells whole seconds only."""
    seconds = abs(ahead.total_seconds())
    text = f"{seconds:.0f} s {'ahead of' if ahead > timedelta() else 'behind'} the API's"
    if abs(ahead) < NOTICEABLE:
        return ok("clock", text)
    advice = "Set this machine's clock, best by NTP: ages and waits are measured with it."
    return (warning if abs(ahead) < SKEW else problem)("clock", text, advice)
