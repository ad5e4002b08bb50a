"""
What happens to a row, told without Dagster, without the SDK and without a database.

A row passes through the rooms in the order of its life: `asking`, `sending`, `collecting`, `reporting`. `running` leads
it: `pipeline` is the whole story, `dispatch` sends, `following` waits and collects. `task` says what an asset asks,
`retries` whether a row is sent again, `ledger` in which states its batch can be, `verdicts` what can become of it,
`pricing` what it costs, `ports` what the outside world must offer.

In `sending`, `submission` holds the last byte back until the ledger knows of it, and `recovery` runs first after a
crash. In `collecting`, `output_schema` validates, and `judging` says what an answer is worth. What is done for many
rows at once is done in SQL, by the same rules: the rooms of `storage.duckdb` have the same names.
"""
