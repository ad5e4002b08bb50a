"""The asset in YAML: `claude_batch_dagster.ClaudeBatchComponent`, its attributes, and what `dg scaffold` writes."""
