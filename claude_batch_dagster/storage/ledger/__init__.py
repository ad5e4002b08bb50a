"""What was sent, to whom, and what came of it: SQLite or Postgres, through SQLAlchemy."""
