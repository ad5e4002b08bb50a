from pathlib import Path

import pytest

from example_project.settings import CHECKOUT, Settings, SettingsError, read_settings
from tests.canary import KEY


def test_nothing_set_means_offline_in_the_checkout() -> None:
    """Without any variable the example works offline, in `.example` of the checkout."""
    settings = read_settings({"EXAMPLE_DOCUMENTS": " ", "ANTHROPIC_API_KEY": ""})

    assert settings == Settings(
        home=CHECKOUT / ".example",
        documents=None,
        api_key_is_set=False,
        base_url=None,
        poll_seconds=None,
        quiet_period_seconds=None,
        max_requests_per_batch=None,
    )
    assert settings.offline


def test_everything_set(tmp_path: Path) -> None:
    """Every variable arrives as a value of its type."""
    file = tmp_path / "documents.jsonl"
    file.touch()

    settings = read_settings(
        {
            "EXAMPLE_HOME": str(tmp_path),
            "EXAMPLE_DOCUMENTS": str(file),
            "EXAMPLE_POLL_SECONDS": "0.2",
            "EXAMPLE_QUIET_PERIOD_SECONDS": "0",
            "EXAMPLE_MAX_REQUESTS_PER_BATCH": "500",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:8765",
        }
    )

    assert settings == Settings(
        home=tmp_path,
        documents=file,
        api_key_is_set=True,
        base_url="http://127.0.0.1:8765",
        poll_seconds=0.2,
        quiet_period_seconds=0.0,
        max_requests_per_batch=500,
    )
    assert KEY not in repr(settings)


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"])
def test_a_key_or_an_address_means_online(name: str) -> None:
    """Either of the two is enough to leave the emulator alone."""
    assert not read_settings({name: "http://127.0.0.1:1"}).offline


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("EXAMPLE_POLL_SECONDS", "soon", "is no number; give seconds, such as 2.5."),
        ("EXAMPLE_POLL_SECONDS", "0", "is out of range; give 0.01 to 86400 seconds."),
        ("EXAMPLE_POLL_SECONDS", "nan", "is out of range; give 0.01 to 86400 seconds."),
        ("EXAMPLE_QUIET_PERIOD_SECONDS", "-1", "is out of range; give 0 to 86400 seconds."),
        ("EXAMPLE_MAX_REQUESTS_PER_BATCH", "2.5", "is no whole number; give one, such as 500."),
        ("EXAMPLE_MAX_REQUESTS_PER_BATCH", "0", "is out of range; a batch holds 1 to 100000 requests."),
        ("EXAMPLE_DOCUMENTS", "no-such.jsonl", "is no file; name a JSON Lines file or unset the variable."),
        ("EXAMPLE_HOME", __file__, "is a file; name a directory, it is created when missing."),
        ("ANTHROPIC_BASE_URL", "localhost", "is no address; it must start with http:// or https://."),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str, problem: str) -> None:
    """The error names the variable, its value, what is wrong and what to do."""
    with pytest.raises(SettingsError) as raised:
        read_settings({name: value})

    assert str(raised.value) == f"{name}={value!r} {problem}"
