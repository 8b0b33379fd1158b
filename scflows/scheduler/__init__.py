"""Start what is due, catch up on what was missed."""
