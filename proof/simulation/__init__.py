"""The real engine in a world that stops it at any call it makes, with a judge who reads what the server billed."""
