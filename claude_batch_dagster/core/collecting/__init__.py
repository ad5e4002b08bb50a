"""What comes back: downloads, results, outcomes, and what an answer is worth today."""
