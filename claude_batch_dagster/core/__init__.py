"""
What happens to a row, told without Dagster, without the SDK and without a database.

A row walks through the rooms in the order of its life: `asking`, `sending`, `collecting`, `reporting`. `pipeline` is
the whole story, `attempts` says whether a row is sent again, `ledger` is what it signs on its way, `verdicts` what can
become of it, `pricing` what it costs, and `ports` what the outside world must offer.
"""
