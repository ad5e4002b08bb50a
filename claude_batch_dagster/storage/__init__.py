"""
What outlives a process: the ledger (SQLAlchemy), the output table (DuckDB), and files.

Only this room imports a database.
"""
