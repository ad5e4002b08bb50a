"""Replies that a fault puts in the place of the right one."""

from dataclasses import replace
from typing import Any

import orjson

from claude_batch_dagster.emulator.calls import Call
from claude_batch_dagster.emulator.fault_names import AFTER
from claude_batch_dagster.emulator.faults import Fault
from claude_batch_dagster.emulator.refusals import REFUSALS
from claude_batch_dagster.emulator.reply import TOO_LARGE, Connection, Reply, json_reply

# What the login page of a hotel or a proxy looks like to a client that asked for JSON.
_HTML = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head>"
    b"<body><h1>Please sign in to the network</h1></body></html>"
)
_CONNECTIONS = {
    "connect_error": Connection.REFUSED,
    "drop_mid_body": Connection.BROKEN,
    "drop_before_accept": Connection.DROPPED,
    "drop_after_accept": Connection.DROPPED,
    "timeout_after_accept": Connection.STALLED,
    "stall": Connection.STALLED,
}


def instead(fault: Fault, call: Call, request_id: str) -> Reply:
    """Return what the fault sends in place of any reply."""
    if connection := _CONNECTIONS.get(fault.name):
        return Reply(connection=connection)
    reply = _named(fault, call, request_id)
    return replace(reply, headers={**reply.headers, **fault.headers})


def _named(fault: Fault, call: Call, request_id: str) -> Reply:
    name = fault.name.removesuffix(AFTER)
    if name == "413":
        return TOO_LARGE
    if name == "redirect_307":
        return Reply(status=307, headers={"location": fault.url or f"{call.origin}{call.path}"})
    if name == "html_200":
        return Reply(headers={"content-type": "text/html; charset=utf-8"}, body=_HTML)
    error = REFUSALS[name]
    headers = {"retry-after": f"{fault.lasting:g}"} if name == "429" else {}
    return json_reply(error.body(request_id), status=error.status, headers=headers)


def spoiled(fault: Fault, reply: Reply) -> Reply:
    """Return a good reply as the fault leaves it: cut, without an id, or with a wrong count."""
    body = reply.read()
    if fault.name == "cut_json_200":
        return replace(reply, body=body[: len(body) // 2])
    value: dict[str, Any] = orjson.loads(body)
    if fault.name == "empty_id_200":
        value["id"] = ""
    else:
        value["request_counts"]["processing"] -= 1
    return replace(reply, body=orjson.dumps(value))
