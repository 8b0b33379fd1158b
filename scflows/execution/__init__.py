"""One run, from the request to the final record."""
