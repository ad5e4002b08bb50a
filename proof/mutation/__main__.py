"""Try mutants of the core: `python -m proof mutation --sample 200 --seed 0`."""

import time

import click

from proof.mutation.drawing import drawn, mutants
from proof.mutation.found import PATH, Found, Tried
from proof.mutation.reach import TESTS
from proof.mutation.running import run_all


@click.command()
@click.option("--files", default="", help="Of the core, such as `retries.py,sending/chunks.py`; all if not given.")
@click.option("--sample", default=None, type=int, help="How many mutants, drawn at random; all if not given.")
@click.option("--seed", default=0, help="Of the drawing.")
@click.option(
    "--tests", default=TESTS, multiple=True, help="Files or folders of tests that are asked; tests/core if not given."
)
@click.option("--minutes", default=600.0, help="None is begun after that.")
def main(files: str, sample: int | None, seed: int, tests: tuple[str, ...], minutes: float) -> None:
    """Change the core in small ways, one at a time, and list the changes that no test of the core notices."""
    specs = mutants([file for file in files.split(",") if file])

    def tell(one: Tried) -> None:
        print(
            f"{'killed' if one.killed else 'SURVIVED':>8}  {one.file}:{one.line}  {one.old}  ->  {one.new}", flush=True
        )

    began = time.monotonic()
    tried = run_all(drawn(specs, sample, seed), tests, minutes * 60, tell)
    Found(tests=tests, seed=seed, n_all=len(specs), seconds=time.monotonic() - began, tried=tried).save()
    print(f"{sum(one.killed for one in tried)} of {len(tried)} killed. Written to {PATH.name}.")


if __name__ == "__main__":
    main()
