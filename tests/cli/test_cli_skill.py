"""`claude-batch skill` puts the skill for coding agents where they look."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import claude_batch_dagster
from claude_batch_dagster import checks
from claude_batch_dagster.cli import COMMANDS, main

SKILL = Path(claude_batch_dagster.__file__).parent / "skills" / "claude-batch-dagster" / "SKILL.md"


def test_the_skill_is_copied_where_agents_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the project, or a folder that is named; a second time changes nothing."""
    monkeypatch.chdir(tmp_path)

    for _ in range(2):
        result = CliRunner().invoke(main, ["skill"])
        assert result.exit_code == 0, result.output
        assert ".claude/skills/claude-batch-dagster/SKILL.md" in result.output
        assert (tmp_path / ".claude/skills/claude-batch-dagster/SKILL.md").read_text() == SKILL.read_text()
    assert CliRunner().invoke(main, ["skill", "elsewhere"]).exit_code == 0
    assert (tmp_path / "elsewhere/claude-batch-dagster/SKILL.md").is_file()
    (tmp_path / "file").touch()
    refused = CliRunner().invoke(main, ["skill", "file/x"])
    assert (refused.exit_code, "cannot be written: Not a directory" in refused.output) == (1, True)


def test_the_skill_says_when_it_is_for_and_names_what_there_is() -> None:
    """Its head as agents read it; every name in it exists."""
    head, text = SKILL.read_text().removeprefix("---\n").split("---\n", maxsplit=1)
    settings = dict(line.split(": ", 1) for line in head.splitlines())

    assert settings["name"] == SKILL.parent.name
    assert settings["description"].startswith("Use when")
    assert len(settings["description"]) < 1024
    public = {*claude_batch_dagster.__all__, *checks.__all__}
    assert set(re.findall(r"\b(?:build_\w+|ClaudeBatch\w+)\b", text)) <= public
    assert set(re.findall(r"claude-batch --database FILE (\w+)", text)) <= COMMANDS.keys()
