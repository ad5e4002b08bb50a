"""Start by themselves: where batches have ended, and where documents are new."""
