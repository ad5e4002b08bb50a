"""Declare: the assets of a table of answers, the job and the schedule for them, and what they read."""
