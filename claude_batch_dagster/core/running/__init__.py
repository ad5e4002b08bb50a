"""One run: what is sent, followed and canceled, and who decides."""
