"""The tutorial, typed as it stands, in an environment that has nothing else."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.dagster_dev import free_port
from tests.soak.installed import REPOSITORY, install, run

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text()
FENCE = re.compile(
    r"^```(?P<kind>\w+)(?: title=\"(?P<title>[^\"]+)\")?(?P<how>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
PORT = "8765"

LABELED = """
import duckdb
with duckdb.connect("support/warehouse.duckdb") as connection:
    rows = connection.execute("SELECT status, count(*) FROM public.classified_tickets GROUP BY ALL").fetchall()
assert rows == [("succeeded", 12)], rows
"""


class Reader:
    """Somebody who types what the page says."""

    def __init__(self, folder: Path, commands: Path, port: str) -> None:
        self.folder, self._port = folder, port
        self._environment = {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(commands.parent),
            "HOME": str(folder),
        }

    def type_in(self, text: str) -> str:
        """Type lines into a shell that remembers where it is and what was exported."""
        note = 'echo; echo "@@$(pwd)"; env -0 | tr "\\0" "\\n" | sed "s/^/@=/"'
        done = subprocess.run(
            ["/bin/bash", "-e", "-c", f"{self._here(text)}\n{note}"],
            cwd=self.folder,
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        shown, _, rest = done.stdout.rpartition("@@")
        where, *variables = rest.splitlines()
        self.folder = Path(where)
        exported = dict(line[2:].split("=", 1) for line in variables if line.startswith("@=ANTHROPIC_"))
        self._environment |= exported
        return shown + done.stderr

    def write(self, title: str, text: str, *, append: bool) -> None:
        """Write a file of the page, or add to one."""
        path = self.folder / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.read_text() + text if append else text)

    @contextmanager
    def beside(self, text: str) -> Iterator[None]:
        """Run lines in a second terminal."""
        command = ["/bin/bash", "-c", f"exec {self._here(text)}"]
        with subprocess.Popen(
            command, cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert "listens on" in process.stdout.readline()
                yield
            finally:
                process.terminate()

    def _here(self, text: str) -> str:
        """Use a port that is free; the rest is as it stands."""
        return text.replace(PORT, self._port)


@pytest.mark.soak
def test_the_tutorial_ends_with_a_chart(tmp_path: Path) -> None:
    """Every block of the page, in its order."""
    python = install(
        tmp_path, beside=("create-dagster", "dagster-dg-cli", "dagster-webserver", "hatchling", "editables")
    )
    reader = Reader(tmp_path, Path(python).parent, str(free_port()))
    blocks = [match.groupdict() for match in FENCE.finditer(PAGE)]
    [emulator] = [block["text"] for block in blocks if "background" in block["how"]]
    at = next(n for n, block in enumerate(blocks) if "background" in block["how"])

    for block in blocks[:at]:
        follow(reader, block)
    with reader.beside(emulator):
        shown = [follow(reader, block) for block in blocks[at + 1 :]]
        again = reader.type_in("dg launch --assets classified_tickets --partition-range '2026-11-01...2026-11-03'")

    run(python, LABELED, tmp_path)
    assert "12 answered already" in again
    assert "█" in shown[-1]
    assert "public.classified_tickets" in shown[-2]


def follow(reader: Reader, block: dict[str, str]) -> str:
    """Do what a block of the page says."""
    if block["title"]:
        reader.write(block["title"], block["text"], append="append" in block["how"])
        return ""
    text = re.sub(r"^pip install (?!-e).*\n", "", block["text"], flags=re.MULTILINE)  # it is there already
    return reader.type_in(text.replace("pip install -e .", "pip install -q --no-deps --no-build-isolation -e ."))
