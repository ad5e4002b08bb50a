"""The API as a command sees it; the key comes from the environment and is never shown."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from claude_batch_dagster.cli.options import Options
from claude_batch_dagster.client import AnthropicBatches, new_client
from claude_batch_dagster.core.ledger import ChunkRecord
from claude_batch_dagster.core.ports import BatchApi, place_of
from claude_batch_dagster.errors import ConfigurationError

KEY = "ANTHROPIC_API_KEY"


def api_key() -> str:
    """Return the key; raise `ConfigurationError` unless it is one that can travel in a header."""
    key = os.environ.get(KEY, "")
    if not key:
        raise ConfigurationError(
            f"{KEY} is not set. Set it in the environment; it is no option, so that no shell keeps it"
        )
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ConfigurationError(f"{KEY} holds white space or characters that no key has")
    return key


@contextmanager
def connected(options: Options) -> Iterator[AnthropicBatches]:
    """Open the API at the base URL and in the workspace chosen."""
    client = new_client(api_key=api_key(), base_url=options.base_url, workspace_id=options.workspace_id)
    api = AnthropicBatches(client, workspace_id=options.workspace_id)
    try:
        yield api
    finally:
        api.close()


def is_here(chunk: ChunkRecord, api: BatchApi) -> bool:
    """Whether the chunk was sent to where this command asks: silence elsewhere proves nothing."""
    return place_of(chunk.account) == place_of(api.account)
