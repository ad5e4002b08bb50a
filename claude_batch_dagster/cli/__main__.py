"""`python -m claude_batch_dagster.cli`: the command line without its installed name."""

from claude_batch_dagster.cli import main

if __name__ == "__main__":
    main(prog_name="claude-batch")
