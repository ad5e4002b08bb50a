"""What each row asks: its key, its prompt, its question, and the hash that names it."""
