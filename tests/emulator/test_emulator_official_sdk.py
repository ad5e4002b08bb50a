"""The official SDK, over a real socket, finds what it finds at the real API."""

import re
from collections.abc import Callable
from typing import Any, Literal

import anthropic
import httpx2
import pytest
from pydantic import BaseModel, ConfigDict

from claude_batch_dagster.emulator import Emulator, SystemClock, serving

Ask = Callable[..., Any]


class Topic(BaseModel):
    """The answer asked for."""

    model_config = ConfigDict(extra="forbid")

    topic: Literal["war", "economy"]
    urgent: bool


def test_a_batch_is_created_in_progress(remote: anthropic.Anthropic, ask: Ask) -> None:
    """A new batch has all its requests in processing and nothing else set."""
    batch = remote.messages.batches.create(requests=[ask("a"), ask("b")])

    assert re.fullmatch(r"msgbatch_01[0-9A-Za-z]{22}", batch.id)
    assert batch.processing_status == "in_progress"
    assert batch.request_counts.model_dump() == {
        "processing": 2,
        "succeeded": 0,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    assert (batch.expires_at - batch.created_at).total_seconds() == 24 * 3600
    assert (batch.ended_at, batch.archived_at, batch.cancel_initiated_at, batch.results_url) == (None,) * 4


def test_a_batch_ends_and_can_be_read(remote: anthropic.Anthropic, server: tuple[Emulator, str], ask: Ask) -> None:
    """An ended batch has results on the host that was asked, one for each request."""
    created = remote.messages.batches.create(requests=[ask(f"row-{n}") for n in range(5)])
    batch = remote.messages.batches.retrieve(created.id)
    results = list(remote.messages.batches.results(batch.id))

    assert batch.processing_status == "ended"
    assert batch.request_counts.succeeded == 5
    assert batch.results_url == f"{server[1]}/v1/messages/batches/{batch.id}/results"
    assert {result.custom_id for result in results} == {f"row-{n}" for n in range(5)}
    assert [result.result.type for result in results] == ["succeeded"] * 5


def test_a_result_is_a_whole_message(remote: anthropic.Anthropic, ask: Ask) -> None:
    """A succeeded line carries a Message with usage at the batch tier."""
    batch = remote.messages.batches.create(requests=[ask(text="good morning to everyone")])
    (line,) = remote.messages.batches.results(batch.id)

    assert line.result.type == "succeeded"
    message = line.result.message
    assert re.fullmatch(r"msg_01[0-9A-Za-z]{22}", message.id)
    assert (message.role, message.model, message.stop_reason) == ("assistant", "claude-haiku-5-5", "end_turn")
    assert message.content[0].type == "text"
    assert (message.usage.input_tokens, message.usage.service_tier) == (14, "batch")
    assert message.usage.output_tokens > 0


def test_lists_are_paged_newest_first(ask: Ask) -> None:
    """The SDK's own pagination walks every batch in either direction, page by page."""
    with serving(Emulator()) as url, anthropic.Anthropic(api_key="key", base_url=url) as client:
        assert client.messages.batches.list().model_dump() == {
            "data": [],
            "has_more": False,
            "first_id": None,
            "last_id": None,
        }
        ids = [client.messages.batches.create(requests=[ask()]).id for _ in range(5)]
        page = client.messages.batches.list(limit=2)
        forward = [batch.id for batch in client.messages.batches.list(limit=2)]
        backward = [batch.id for batch in client.messages.batches.list(limit=2, before_id=ids[0])]

    assert (page.first_id, page.last_id, page.has_more) == (ids[4], ids[3], True)
    assert forward == ids[::-1]
    assert sorted(backward) == sorted(ids[1:])


def test_a_batch_is_canceled(remote: anthropic.Anthropic, server: tuple[Emulator, str], ask: Ask) -> None:
    """A cancel shows at once, with every request still in processing."""
    server[0].pace.batch_seconds = 3600
    batch = remote.messages.batches.create(requests=[ask()])
    canceled = remote.messages.batches.cancel(batch.id)

    assert canceled.processing_status == "canceling"
    assert canceled.cancel_initiated_at is not None
    assert canceled.request_counts.processing == 1


def test_an_ended_batch_is_deleted(remote: anthropic.Anthropic, ask: Ask) -> None:
    """A deleted batch is gone for every call."""
    batches = remote.messages.batches
    batch = batches.create(requests=[ask()])
    deleted = batches.delete(batch.id)

    assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
    for call in (batches.retrieve, batches.cancel, batches.delete, batches.results):
        with pytest.raises(anthropic.NotFoundError):
            call(batch.id)


def test_the_beta_surface_is_served(remote: anthropic.Anthropic, ask: Ask) -> None:
    """`client.beta.messages.batches` finds the same six endpoints, and a beta widens `max_tokens`."""
    requests: Any = [ask(max_tokens=300_000)]
    batches = remote.beta.messages.batches
    narrow = batches.create(requests=requests)
    wide = batches.create(requests=requests, betas=["output-300k-2026-03-24"])

    assert [line.result.type for line in batches.results(narrow.id)] == ["errored"]
    assert [line.result.type for line in batches.results(wide.id)] == ["succeeded"]
    assert wide.id in [batch.id for batch in batches.list()]
    assert batches.delete(wide.id).id == wide.id


@pytest.mark.parametrize("name", ["api_key", "auth_token"])
@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_credentials_and_versions_of_every_sdk_are_taken(server: tuple[Emulator, str], name: str, version: str) -> None:
    """Either credential and either version of the API works."""
    options: dict[str, Any] = {name: "key", "default_headers": {"anthropic-version": version}}
    with anthropic.Anthropic(base_url=server[1], **options) as client:
        assert client.messages.batches.list(limit=1).data is not None


def test_the_old_key_header_is_taken(server: tuple[Emulator, str]) -> None:
    """`x-api-key`, as curl and older SDKs send it, works."""
    headers = {"x-api-key": "key", "anthropic-version": "2023-06-01"}

    assert httpx2.get(f"{server[1]}/v1/messages/batches", headers=headers).status_code == 200


def test_a_live_message_gets_the_same_answer_as_in_a_batch(
    remote: anthropic.Anthropic, ask: Ask, topic: dict[str, Any]
) -> None:
    """Live and batch differ in the service tier, not in what is answered."""
    request = ask(text="our navy fought a battle", output_config=topic)
    live = remote.messages.create(**request["params"])
    batch = remote.messages.batches.create(requests=[request])
    (line,) = remote.messages.batches.results(batch.id)

    assert line.result.type == "succeeded"
    assert live.content == line.result.message.content
    assert live.usage.service_tier == "standard"


def test_parsed_messages_fit_the_model(remote: anthropic.Anthropic) -> None:
    """`messages.parse` gets JSON that its pydantic model accepts."""
    message = remote.messages.parse(
        model="claude-haiku-5-5",
        max_tokens=100,
        messages=[{"role": "user", "content": "The war goes on, and the army marches."}],
        output_format=Topic,
    )

    assert message.parsed_output is not None
    assert message.parsed_output.topic == "war"


def test_tokens_are_counted_as_they_are_billed(remote: anthropic.Anthropic, ask: Ask) -> None:
    """`count_tokens` tells what the message will be billed."""
    params = ask(text="word " * 50)["params"]
    message = remote.messages.create(**params)
    params.pop("max_tokens")

    assert remote.messages.count_tokens(**params).input_tokens == message.usage.input_tokens == 70


def test_replies_carry_the_headers_of_the_api(remote: anthropic.Anthropic, ask: Ask) -> None:
    """Ids, workspace, rate limits and content types are where clients look for them."""
    created = remote.messages.batches.with_raw_response.create(requests=[ask()])
    headers = created.headers
    url = f"/v1/messages/batches/{created.parse().id}/results"
    results = remote.get(url, cast_to=httpx2.Response)

    assert re.fullmatch(r"req_01[0-9A-Za-z]{22}", headers["request-id"])
    assert headers["anthropic-workspace-id"].startswith("wrkspc_01")
    assert headers["anthropic-organization-id"]
    assert int(headers["anthropic-ratelimit-requests-remaining"]) < 4000
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert headers["content-type"] == "application/json"
    assert results.headers["content-type"] == "application/x-jsonl"


def test_polls_say_when_to_come_again() -> None:
    """A poll of an unfinished batch carries `retry-after`: what is left, from 1 to 10 seconds."""
    emulator = Emulator(batch_seconds=60)
    headers = {"x-api-key": "key", "anthropic-version": "2023-06-01"}
    body = b'{"requests":[{"custom_id":"a","params":{}}]}'
    path = "/v1/messages/batches"
    batch_id = emulator.handle("POST", path, headers, body).json()["id"]
    pauses = []
    for seconds in (0, 56, 3.5, 0.5):
        emulator.clock.advance(seconds=seconds)
        pauses.append(emulator.handle("GET", f"{path}/{batch_id}", headers).headers.get("retry-after"))

    assert pauses == ["10", "4", "1", None]


def test_keys_see_the_batches_of_their_workspace_only(ask: Ask) -> None:
    """A key of another workspace finds neither the batch nor its place in the list."""
    emulator = Emulator(clock=SystemClock(), keys={"ours": "wrkspc_a", "also-ours": "wrkspc_a", "theirs": "wrkspc_b"})
    with serving(emulator) as url:
        ours, also_ours, theirs = (
            anthropic.Anthropic(api_key=key, base_url=url, max_retries=0) for key in ("ours", "also-ours", "theirs")
        )
        batch = ours.messages.batches.create(requests=[ask()])

        assert also_ours.messages.batches.retrieve(batch.id).id == batch.id
        assert theirs.messages.batches.list().data == []
        with pytest.raises(anthropic.NotFoundError):
            theirs.messages.batches.retrieve(batch.id)
        for client in (ours, also_ours, theirs):
            client.close()
