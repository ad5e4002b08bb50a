"""
How right answers are, from gold rows: the statistics, without Dagster and without a database.

A *gold row* is a row of the table whose true answer is known from people. What is computed here is meant for few of
them: 50 to 500. So no interval is a normal approximation; each covers the truth at least as often as it says, by exact
distributions or, where there are none, by simulations that the tests repeat.
"""
