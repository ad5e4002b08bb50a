"""What goes to the API, once: chunks, their submission, and what is looked for after a crash."""
