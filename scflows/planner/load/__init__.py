"""The expected concurrent runs, and how to spread them evenly."""
