"""One Dagster run: partitions in, the engine at work, and what Dagster is told: log, metadata, versions, checks."""
