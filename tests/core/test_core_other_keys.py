"""Whose silence counts when the key has changed since a batch was sent."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import anthropic
import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.emulator import Emulator, EmulatorTransport
from claude_batch_dagster.errors import HeldChunksError
from tests.canary import KEY
from tests.core.world import PIPELINE, World

pytestmark = pytest.mark.verify
"""Of what is rare: on every push."""

TWO = {1: "a text of war", 2: "a text of peace"}
NEW_KEY = f"{KEY}-new"
THEIR_KEY = f"{KEY}-theirs"

WithKey = Callable[[str], AnthropicBatches]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return an emulator with two keys of one workspace, and one of another."""
    emulator = Emulator(keys={KEY: "wrkspc_ours", NEW_KEY: "wrkspc_ours", THEIR_KEY: "wrkspc_theirs"})
    yield emulator
    emulator.close()


@pytest.fixture
def with_key(emulator: Emulator) -> Iterator[WithKey]:
    """Return a function that opens the API with another key; no workspace is named."""
    with ExitStack() as stack:

        def with_key(key: str) -> AnthropicBatches:
            http = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator), follow_redirects=False)
            client = stack.enter_context(anthropic.Anthropic(api_key=key, http_client=http, max_retries=0))
            return AnthropicBatches(client)

        yield with_key


def lose(world: World, fault: str) -> None:
    """Lose the answer to the next batch, and stop there: silence is left to another run."""
    world.documents(TWO)
    world.emulator.faults.add(fault, endpoint="create", times=1)
    world.emulator.faults.add("401", endpoint="list", times=1)
    world.run()
    assert world.states()[-1] is State.AMBIGUOUS


def test_f56_f112_a_key_that_does_not_see_the_batch_cannot_testify_to_its_absence(
    world: World, with_key: WithKey
) -> None:
    """The key of another workspace lists nothing: the chunk is held, and adopted once the right key is back."""
    lose(world, "drop_after_accept")

    report = world.run(api=with_key(THEIR_KEY))

    assert isinstance(report.failure, HeldChunksError)
    assert world.states() == [State.HELD]
    [held] = world.ledger.chunks(PIPELINE, State)
    assert (str(held.note).startswith("sent with another key"), held.n_silent_listings) == (True, 0)
    world.clock.sleep(60)
    assert world.run().failure is None
    assert (world.states(), world.n_billed) == ([State.APPLIED], [1, 1])


def test_f112_a_new_key_finds_what_the_old_one_sent(world: World, with_key: WithKey) -> None:
    """Of the same workspace: the nonce in the results proves the batch, whichever key reads them."""
    lose(world, "drop_after_accept")

    assert world.run(api=with_key(NEW_KEY)).failure is None

    assert (world.states(), world.n_billed) == ([State.APPLIED], [1, 1])


@pytest.mark.parametrize(
    ("key", "becomes"),
    [pytest.param(NEW_KEY, State.UNSEEN, id="same-workspace"), pytest.param(THEIR_KEY, State.HELD, id="another")],
)
def test_f112_a_key_that_sees_what_the_old_one_sent_before_can_testify(
    world: World, with_key: WithKey, key: str, becomes: State
) -> None:
    """A batch that the old key is known to have sent is the witness: who can retrieve it looks at the same list."""
    world.documents({3: "a text of war and peace"})
    world.run()
    lose(world, "drop_before_accept")

    report = world.run(api=with_key(key))

    assert world.states()[:2] == [State.APPLIED, becomes]
    assert (report.failure is None) == (becomes is State.UNSEEN)
