"""Bugs that let keys and documents out."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D400, D401

from claude_batch_dagster import client
from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.errors import ApiRefusedError
from claude_batch_dagster.resource import ClaudeBatchResource
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

CLIENT = "tests/client/test_client.py"


@breaks(
    Promise.SECRETS_STAY,
    caught_by=("tests/core/test_core_submission.py::test_a_failed_call_is_written_down_as_what_it_proves",),
)
def documents_in_the_ledger(planter: Planter) -> None:
    """The API's own words say best why it refused."""
    planter.replace(ApiRefusedError, "brief", property(str))


@breaks(Promise.SECRETS_STAY, caught_by=("tests/dagster/test_dagster_resource.py::test_f120_the_key_is_never_shown",))
def key_in_repr(planter: Planter) -> None:
    """A field is a field; why should one not be shown?"""
    planter.replace(ClaudeBatchResource.model_fields["api_key"], "repr", True)  # noqa: FBT003


@breaks(
    Promise.SECRETS_STAY,
    caught_by=(
        f"{CLIENT}::test_f35_f47_our_client_tries_nothing_twice_and_follows_nobody",
        f"{CLIENT}::test_f47_a_redirect_hands_the_documents_to_nobody",
    ),
)
def redirects_followed(planter: Planter) -> None:
    """A gateway that has moved says so with a redirect."""
    planter.rewrite(client, "new_client", "follow_redirects=False", "follow_redirects=True")


@breaks(
    Promise.SECRETS_STAY,
    caught_by=(
        f"{CLIENT}::test_f67_results_come_from_the_configured_host_by_id",
        "tests/proof/test_proof_gone.py::test_f67_the_host_that_results_url_names_is_never_asked",
    ),
)
def results_from_their_url(planter: Planter) -> None:
    """The API says where the results are, so that is where they are fetched."""
    named = '_json(self._client.get(_path(batch_id), cast_to=httpx2.Response))["results_url"]'
    planter.rewrite(AnthropicBatches, "results", 'f"{_path(batch_id)}/results"', named)
