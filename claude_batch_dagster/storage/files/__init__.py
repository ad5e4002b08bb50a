"""The state directory: raw results, requests on their way to a batch, and locks."""
