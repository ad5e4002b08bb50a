"""What is planted in every key and every document, and must turn up nowhere but where they belong."""

KEY = "canary-of-the-key"
"""Part of every key: it may go to the API, and nowhere else."""

DOCUMENT = "canary-of-the-document"
"""Part of every document: it may be upstream, in the outbox and on its way to the API, and nowhere else."""
