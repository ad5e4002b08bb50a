"""
What happens to a row, told without Dagster, without the SDK and without a database.

A row walks: `requests`, `chunks`, `submission`, `waiting`, `collection` (`results`, `outputs`).
`ledger` is what it signs on the way, `recovery` what runs first after a crash, `pipeline` the whole
story, `ports` what the outside world must offer.
"""
