"""`python -m claude_batch_dagster.emulator`: the emulator as a server."""

import re
from contextlib import closing
from functools import partial
from pathlib import Path

import click

from claude_batch_dagster.emulator.app import Emulator
from claude_batch_dagster.emulator.calls import ENDPOINTS
from claude_batch_dagster.emulator.clock import SystemClock
from claude_batch_dagster.emulator.fault_names import NAMES, TIMED
from claude_batch_dagster.emulator.faults import Fault
from claude_batch_dagster.emulator.server import listen, serve, url_of, write_ready
from claude_batch_dagster.emulator.store import StateInUseError

_FAULT = re.compile(r"(?P<name>[a-z0-9_]+)(?:=(?P<value>[\d.]+))?(?::(?P<times>\d+))?(?:@(?P<on>.+))?")
_URL_FAULT = re.compile(r"(?P<name>redirect_307(?:_after_accept)?|foreign_results_url)=(?P<url>https?://.+)")
_SECONDS = TIMED | {"slow_trickle"}


def parse_fault(text: str) -> Fault:
    """
    Read `NAME[=RATE][:TIMES][@WHERE]`.

    WHERE is an endpoint (`retrieve`) or a method with an optional path pattern
    (`GET/v1/messages/batches/*`). Timed faults take seconds for RATE, those
    that lead elsewhere take a URL.
    """
    # A URL contains the colon that otherwise sets off the number of times.
    if match := _URL_FAULT.fullmatch(text):
        return Fault(name=match["name"], url=match["url"])
    if not (match := _FAULT.fullmatch(text)):
        raise click.BadParameter(f"{text!r} is not of the form NAME[=RATE][:TIMES][@WHERE]")
    name, value = match["name"], float(match["value"] or 1)
    seconds = float(match["value"]) if name in _SECONDS and match["value"] else None
    method, slash, path = (match["on"] or "").partition("/")
    try:
        return Fault(
            name=name,
            rate=1.0 if name in _SECONDS else value,
            seconds=seconds,
            times=int(match["times"]) if match["times"] else None,
            endpoint=method if method in ENDPOINTS else "",
            method="" if method in ENDPOINTS else method,
            path=slash + path,
        )
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_pace(text: str) -> tuple[float, float]:
    """Read `SECONDS` or `SECONDS,SECONDS_PER_REQUEST`."""
    batch, _, request = text.partition(",")
    try:
        return float(batch), float(request or 0)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither S nor S,PER_REQUEST") from None


@click.command(epilog=f"Faults: {', '.join(sorted(NAMES))}.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8765, show_default=True, help="0 picks a free one.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Folder that outlives a restart.")
@click.option("--batch-seconds", default="5", show_default=True, help="S or S,PER_REQUEST: how long a batch takes.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same faults and same order of results.")
@click.option("--fault", "faults", multiple=True, metavar="NAME[=RATE][:TIMES][@WHERE]", help="May be repeated.")
@click.option("--key", "keys", multiple=True, metavar="KEY[=WORKSPACE]", help="May be repeated; default: any key.")
@click.option("--idle-exit-seconds", type=float, help="Leave when nobody has called for so long.")
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path), help="Gets url and pid as JSON.")
@click.option("--progressive-counts", is_flag=True, help="Let counts move while a batch is processed.")
@click.option("--cache-reads", default=0.98, show_default=True, help="Share of requests that find a cached prefix.")
@click.option("--unlike-models", is_flag=True, help="Let smaller and older models err more often.")
def main(  # noqa: PLR0913 - one argument for each option
    *,
    host: str,
    port: int,
    state: Path | None,
    batch_seconds: str,
    seed: int,
    faults: tuple[str, ...],
    keys: tuple[str, ...],
    idle_exit_seconds: float | None,
    ready_file: Path | None,
    progressive_counts: bool,
    cache_reads: float,
    unlike_models: bool,
) -> None:
    """Emulate the Claude Message Batches API; answers are lexical, not Claude's."""
    seconds, per_request = parse_pace(batch_seconds)
    scripted = [parse_fault(text) for text in faults]
    try:
        with (
            listen(host, port) as listener,
            closing(
                Emulator(
                    clock=SystemClock(),
                    seed=seed,
                    batch_seconds=seconds,
                    request_seconds=per_request,
                    progressive_counts=progressive_counts,
                    keys=dict(_key(text) for text in keys) or None,
                    state=state,
                    faults=scripted,
                    cache_reads=cache_reads,
                    unlike_models=unlike_models,
                )
            ) as emulator,
        ):
            announce = partial(_announce, url_of(listener), ready_file)
            serve(emulator, listener, idle_exit_seconds=idle_exit_seconds, on_start=announce)
    except (OSError, StateInUseError) as error:
        raise click.ClickException(str(error)) from None


def _announce(url: str, ready_file: Path | None) -> None:
    if ready_file:
        write_ready(ready_file, url)
    click.echo(f"claude emulator listens on {url}")


def _key(text: str) -> tuple[str, str]:
    key, _, workspace = text.partition("=")
    return key, workspace


if __name__ == "__main__":
    main()
