"""How many runs are expected at once, and where there is room."""
