"""
What outlives a process: the ledger (SQLAlchemy), the user's database (DuckDB), and files.

Only this room writes SQL.
"""
