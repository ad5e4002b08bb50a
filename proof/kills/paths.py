"""The paths of one job: where its documents, its warehouse and its state are."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPaths:
    """The paths of one job, the same for every process that works on it."""

    folder: Path

    @property
    def source(self) -> Path:
        """Where the documents come from."""
        return self.folder / "documents.jsonl"

    @property
    def database(self) -> str:
        """The warehouse."""
        return str(self.folder / "warehouse.duckdb")

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    @property
    def report(self) -> Path:
        """What the last run that ended reported of its answers."""
        return self.folder / "report.json"

    @property
    def log(self) -> Path:
        """What the runs print."""
        return self.folder / "runs.log"

    def files_with(self, words: str, *, beside: Collection[str] = ()) -> list[str]:
        """Name the files in which these words stand, leaving out those whose path holds one of `beside`."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        names = {str(file.relative_to(self.folder)): file for file in files}
        looked_at = {name: file for name, file in names.items() if not any(other in name for other in beside)}
        return sorted(name for name, file in looked_at.items() if words.encode() in file.read_bytes())

    def write(self, documents: Sequence[tuple[str, str, str]]) -> None:
        """Let the source have these documents: id, text and day."""
        lines = [json.dumps({"id": key, "text": text, "day": day}) for key, text, day in documents]
        self.source.write_text("".join(line + "\n" for line in lines))

    def load(self) -> None:
        """Bring the documents into the warehouse."""
        with duckdb.connect(self.database) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS public")
            connection.execute(
                "CREATE OR REPLACE TABLE public.documents AS SELECT * FROM read_json(?, columns = "
                "{id: 'VARCHAR', text: 'VARCHAR', day: 'DATE'}, maximum_object_size = 100000000)",
                [str(self.source)],
            )
