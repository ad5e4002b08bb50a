"""What came back, in SQL: matched, written down as answers, and shown in the output table."""
