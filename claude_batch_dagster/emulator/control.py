"""The emulator's own endpoints, under `/_emulator/`: they ask for no key."""

from typing import TYPE_CHECKING, Any

import orjson

from claude_batch_dagster.emulator.calls import Call
from claude_batch_dagster.emulator.clock import stamp
from claude_batch_dagster.emulator.faults import Fault
from claude_batch_dagster.emulator.reply import Reply, json_reply

if TYPE_CHECKING:
    from claude_batch_dagster.emulator.app import Emulator

PREFIX = "/_emulator/"


def handle(emulator: "Emulator", call: Call, body: bytes | bytearray) -> Reply:
    """Answer a call to a control endpoint."""
    try:
        given = orjson.loads(body) if body else {}
        return _answer(emulator, call, given)
    except (ValueError, TypeError, LookupError) as error:
        return json_reply({"error": f"{type(error).__name__}: {error}"}, status=400)


def _answer(emulator: "Emulator", call: Call, given: Any) -> Reply:
    match call.method, call.path.removeprefix(PREFIX):
        case "GET", "health":
            return json_reply({"status": "ok", "service": "emulator", "now": stamp(emulator.clock.now())})
        case "GET", "audit":
            return json_reply(emulator.audit.report())
        case "GET", "bill":
            return json_reply({model: vars(tokens) for model, tokens in emulator.audit.bill().items()})
        case (("GET" | "POST" | "DELETE"), "faults"):
            return _faults(emulator, call, given)
        case "POST", ("clock" | "batch_seconds" | "cache_reads") as name:
            return json_reply(_set(emulator, name, given))
    raise LookupError(f"there is no {call.method} {call.path}")


def _set(emulator: "Emulator", name: str, given: Any) -> dict[str, Any]:
    """Change how the emulator goes on; return what holds now."""
    if name == "clock":
        emulator.advance(seconds=float(given["advance_seconds"]))
        return {"now": stamp(emulator.clock.now())}
    if name == "cache_reads":
        emulator.cache.reads = float(given["cache_reads"])
        return {"cache_reads": emulator.cache.reads}
    emulator.pace.batch_seconds = float(given["batch_seconds"])
    emulator.pace.request_seconds = float(given.get("request_seconds", emulator.pace.request_seconds))
    return vars(emulator.pace)


def _faults(emulator: "Emulator", call: Call, given: Any) -> Reply:
    if call.method == "POST":
        for fault in [Fault(**one) for one in (given if isinstance(given, list) else [given])]:
            emulator.faults.put(fault)
    elif call.method == "DELETE":
        emulator.faults.clear(call.query.get("name", ""))
    return json_reply([vars(fault) for fault in emulator.faults.active()])
