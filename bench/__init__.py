"""Speed and memory of this package against the plain way, measured side by side in one run."""
