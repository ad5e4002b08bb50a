from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from claude_batch_dagster import ClaudeBatchResource
from claude_batch_dagster.errors import ConfigurationError
from tests.canary import KEY

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

CANARY = "sk-ant-api03-" + "canary" * 10
DATABASE = DuckDBResource(database="warehouse.duckdb")


def resource(**settings: Any) -> ClaudeBatchResource:
    """Return a resource with nothing but what it must have, and these settings."""
    return ClaudeBatchResource(**{"api_key": dg.EnvVar("CLAUDE_TEST_KEY"), "database": DATABASE, **settings})


def defined(given: ClaudeBatchResource) -> None:
    """Load definitions with the resource, as a code location does."""

    @dg.asset(required_resource_keys={"claude"})
    def asset() -> None:
        pass

    dg.Definitions.validate_loadable(dg.Definitions(assets=[asset], resources={"claude": given}))


def initialized(given: ClaudeBatchResource) -> ClaudeBatchResource:
    """Return the resource as it is in a run."""
    with dg.build_resources({"claude": given}) as resources:
        found: ClaudeBatchResource = resources.claude
        return found


@pytest.mark.parametrize("key", [CANARY, "sk-short", "x" * 40], ids=["key", "short", "token"])
def test_f120_a_key_written_out_is_refused(key: str) -> None:
    """A literal key would be shown in the UI: refused wherever it enters Dagster, with what to write instead."""

    @dg.asset(required_resource_keys={"claude"})
    def asset() -> None:
        pass

    def define() -> None:
        defined(resource(api_key=key))

    def materialize() -> None:
        dg.materialize([asset], resources={"claude": resource(api_key=key)})

    for enter in (define, materialize):
        with pytest.raises(ConfigurationError, match=r"Write api_key=dg\.EnvVar\('ANTHROPIC_API_KEY'\)") as caught:
            enter()
        assert key not in str(caught.value)


def test_a_key_from_the_environment_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An EnvVar is what it is in a run, and a name before that, however much the name looks like a key."""
    monkeypatch.setenv("CLAUDE_TEST_KEY_WITH_A_NAME_OF_MORE_THAN_FORTY_CHARACTERS", CANARY)
    given = resource(api_key=dg.EnvVar("CLAUDE_TEST_KEY_WITH_A_NAME_OF_MORE_THAN_FORTY_CHARACTERS"))

    defined(given)

    assert initialized(given).get_client().api_key == CANARY


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment lacks the key the error says which variable is missing."""
    monkeypatch.delenv("CLAUDE_TEST_KEY", raising=False)

    with pytest.raises(Exception, match='environment variable "CLAUDE_TEST_KEY"'):
        initialized(resource())


@pytest.mark.parametrize("settings", [{}, {"base_url": "http://127.0.0.1:1", "workspace_id": "wrkspc_1"}])
def test_f120_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    """Neither the definition nor the resource of a run shows its key, nor does its client."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", CANARY)
    given = resource(**settings)

    found = initialized(given)

    for shown in (repr(given), str(given), repr(found), str(found), f"{found!r:>10}", repr(found.get_client())):
        assert "canary" not in shown


@pytest.mark.parametrize(
    "url", ["http://api.example.com", "http://10.0.0.1:8080", "ftp://127.0.0.1", "api.example.com"]
)
def test_a_base_url_in_the_clear_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Key and documents travel encrypted, but for a loopback address."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", KEY)

    with pytest.raises(ConfigurationError, match=r"is not https.*http is allowed for loopback addresses only"):
        initialized(resource(base_url=url)).get_client()


@pytest.mark.parametrize("url", ["https://me:canary@api.example.com", "https://canary@api.example.com"])
def test_a_base_url_with_credentials_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A user or password in the URL is refused where it is defined: it would be shown in the UI."""
    with pytest.raises(ConfigurationError, match="must not hold a user or password") as caught:
        defined(resource(base_url=url))

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "http://localhost:1", "http://[::1]:1", "http://127.0.0.1:1"]
)
def test_other_base_urls_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Encrypted anywhere, and plain on this machine."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", KEY)
    given = resource(base_url=url)

    defined(given)

    assert str(initialized(given).get_client().base_url).rstrip("/") == url


def test_a_base_url_from_the_environment_is_checked_in_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that is not known before the run is checked then."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", KEY)
    monkeypatch.setenv("CLAUDE_TEST_URL", "http://api.example.com")
    given = resource(base_url=dg.EnvVar("CLAUDE_TEST_URL"))

    defined(given)

    with pytest.raises(ConfigurationError, match="is not https"):
        initialized(given).get_client()


def test_a_base_url_of_the_sdk_is_checked_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK takes ANTHROPIC_BASE_URL where none is given: that, too, must keep key and documents safe."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://api.example.com")

    with pytest.raises(ConfigurationError, match="is not https"):
        initialized(resource()).get_client()


def test_f35_f47_the_client_tries_nothing_twice(world: "DagsterWorld") -> None:
    """`get_client` gives the official client, at the base URL, for the key, without retries or redirects."""
    found = initialized(world.resource(workspace_id="wrkspc_1"))

    client = found.get_client()

    assert (client.max_retries, client.api_key) == (0, KEY)
    assert client.default_headers["anthropic-workspace-id"] == "wrkspc_1"
    assert client.messages.batches.list(limit=1).data is not None
    client.close()


DEFAULTS: dict[str, object] = {
    "base_url": None,
    "workspace_id": None,
    "state_directory": None,
    "ledger_url": None,
    "poll_interval_seconds": 10.0,
    "max_poll_interval_seconds": 60.0,
    "poll_interval_growth": 1.5,
    "max_requests_per_batch": 10_000,
    "max_bytes_per_batch": 64_000_000,
    "max_unconfirmed_usd": None,
    "max_requests_in_flight": 100_000,
    "max_live_requests": 8,
    "quiet_period_seconds": 900.0,
    "on_unconfirmed": "resubmit",
    "on_terminate": "cancel",
    "lock_timeout_seconds": 120.0,
    "default_headers": {},
    "betas": [],
}


def test_every_setting_has_the_documented_default() -> None:
    """Nothing but key and database must be said; the rest has sensible defaults."""
    given = resource()

    assert {name: getattr(given, name) for name in DEFAULTS} == DEFAULTS
    assert set(ClaudeBatchResource.model_fields) == {*DEFAULTS, "api_key", "database"}


def test_every_setting_is_documented() -> None:
    """Each setting has a sentence, and each number a unit, in its name or in the sentence."""
    units = ("second", "request", "byte", "factor")
    for name, field in ClaudeBatchResource.model_fields.items():
        if name == "database":
            continue
        assert field.description, name
        assert field.description.endswith("."), name
        if isinstance(field.default, int | float):
            assert any(unit in f"{name} {field.description}".lower() for unit in units), name


@pytest.mark.parametrize(
    "wrong",
    [
        {"poll_interval_seconds": 0},
        {"max_poll_interval_seconds": -1},
        {"poll_interval_growth": 0.5},
        {"max_requests_per_batch": 100_001},
        {"max_requests_per_batch": 0},
        {"max_bytes_per_batch": 300_000_000},
        {"max_unconfirmed_usd": 0},
        {"max_requests_in_flight": 0},
        {"quiet_period_seconds": -1},
        {"lock_timeout_seconds": -1},
        {"on_unconfirmed": "guess"},
        {"on_terminate": "kill"},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_where_they_are_written(wrong: dict[str, Any]) -> None:
    """A setting out of its range is named when the resource is made."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        resource(**wrong)


def test_the_longest_pause_is_no_shorter_than_the_first(world: "DagsterWorld") -> None:
    """A first interval beyond the longest one is honored rather than cut."""
    found = initialized(world.resource(poll_interval_seconds=90, max_poll_interval_seconds=60))

    pacing = found._pacing()  # noqa: SLF001  (what the run is told)

    assert (pacing.poll_seconds, pacing.max_poll_seconds) == (90, 90)


@pytest.mark.verify
def test_the_resource_may_have_another_name(world: "DagsterWorld", classification: Any) -> None:
    """`resource_key` says under which name the resource is."""
    dg.materialize(
        [classification(resource_key="llm", partitions_def=None)],
        instance=world.instance,
        resources={"llm": world.resource()},
    )

    assert world.statuses() == {"succeeded": 4}


# --- headers and beta features ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"X-Api-Key": "x"}, "set api_key instead"),
        ({"Anthropic-Workspace-Id": "w"}, "set workspace_id instead"),
        ({"Cookie": "session=1"}, "dg.EnvVar"),
        ({"X-Gateway": CANARY}, "dg.EnvVar"),
        ({"Authorization": f"Basic {CANARY}"}, r"Write \{'Authorization': dg\.EnvVar\('GATEWAY_TOKEN'\)\}"),
    ],
)
def test_headers_that_cannot_be_are_refused(headers: dict[str, str], message: str) -> None:
    """What has a setting of its own, and secrets that Dagster would show."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        defined(resource(default_headers=headers))
    assert CANARY not in str(caught.value)


def test_headers_and_betas_go_with_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a gateway, with secrets from the environment, and the names of beta features in one header."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", KEY)
    monkeypatch.setenv("GATEWAY_TOKEN", CANARY)
    given = resource(
        default_headers={"X-Gateway": dg.EnvVar("GATEWAY_TOKEN"), "Anthropic-Beta": "second"}, betas=["third", "first"]
    )

    found = initialized(given)
    with found.open_api() as api:
        assert api.betas == ("first", "second", "third")
    headers = found.get_client().default_headers
    assert (headers["X-Gateway"], headers["anthropic-beta"]) == (CANARY, "second,third,first")
    assert CANARY not in repr(found) + repr(given)


@pytest.mark.verify
def test_other_betas_make_other_questions(world: "DagsterWorld", classification: Callable[..., Any]) -> None:
    """What a beta feature changes in answers is not known, so they are not taken for the same; their order is."""
    asset = classification(partitions_def=None)

    for n_posts, betas in [(1, []), (1, []), (2, ["a", "b"]), (2, ["b", "a"]), (2, [])]:
        world.run(asset, betas=betas)
        assert world.n_posts == n_posts
