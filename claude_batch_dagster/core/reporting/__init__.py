"""What is said of a run and of its partitions in the end."""
