"""The part of a create call that the API checks at once: the list and its custom_ids."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from claude_batch_dagster.emulator.reply import invalid

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_LENGTH = 64
_FIELDS = ("custom_id", "params")


def parse_json(body: bytes | bytearray) -> Any:
    """Return the body as JSON, or refuse it in the API's words."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"The request body is not valid JSON: {error}") from None


def parse_envelope(body: bytes | bytearray, *, max_requests: int) -> list[tuple[str, dict[str, Any]]]:
    """Return custom_id and params of every request; the first broken rule refuses the whole batch."""
    # Everything inside `params` is looked at later: a bad model must be accepted here.
    requests = _requests(parse_json(body))
    if not requests:
        raise invalid("requests: List should have at least 1 item after validation, not 0")
    if len(requests) > max_requests:
        raise invalid(f"requests: List should have at most {max_requests} items after validation, not {len(requests)}")
    pairs = [_pair(position, request) for position, request in enumerate(requests)]
    _refuse_duplicates(pairs)
    return pairs


def _requests(envelope: object) -> list[Any]:
    if not isinstance(envelope, dict):
        raise invalid("Input should be a valid dictionary or object to extract fields from")
    if "requests" not in envelope:
        raise invalid("requests: Field required")
    if extra := next((name for name in envelope if name not in {"requests", "user_profile_id"}), None):
        raise invalid(f"{extra}: Extra inputs are not permitted")
    requests = envelope["requests"]
    if not isinstance(requests, list):
        raise invalid("requests: Input should be a valid list")
    return requests


def _pair(position: int, request: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(request, dict):
        raise invalid(f"requests.{position}: Input should be a valid dictionary or object to extract fields from")
    custom_id, params = request.get("custom_id"), request.get("params")
    if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
        raise invalid(f"requests.{position}.custom_id: {_complaint(request)}")
    if not isinstance(params, dict):
        complaint = "Input should be a valid dictionary" if "params" in request else "Field required"
        raise invalid(f"requests.{position}.params: {complaint}")
    if len(request) > len(_FIELDS):
        extra = next(name for name in request if name not in _FIELDS)
        raise invalid(f"requests.{position}.{extra}: Extra inputs are not permitted")
    return custom_id, params


def _complaint(request: Mapping[str, Any]) -> str:
    if "custom_id" not in request:
        return "Field required"
    custom_id = request["custom_id"]
    if not isinstance(custom_id, str):
        return "Input should be a valid string"
    if not custom_id:
        return "String should have at least 1 character"
    if len(custom_id) > _MAX_LENGTH:
        return f"String should have at most {_MAX_LENGTH} characters"
    return "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"


def _refuse_duplicates(pairs: list[tuple[str, dict[str, Any]]]) -> None:
    # After the single requests, as the API does: a malformed id is reported before a repeated one.
    seen: set[str] = set()
    for custom_id, _ in pairs:
        if custom_id in seen:
            raise invalid(
                f"requests: custom_id's must be unique within a batch. Duplicate custom_id found: {custom_id}"
            )
        seen.add(custom_id)
