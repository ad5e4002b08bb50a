"""What each row asks, in SQL: upstream, questions and the requests of those without an answer."""
