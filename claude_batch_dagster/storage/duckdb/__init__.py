"""The user's database: what upstream holds, what rows ask, what came back, and the table made of it."""
