"""The proof that a document is paid for once and no answer is lost: run it, and read what it found."""
