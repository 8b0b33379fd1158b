"""The run queue: the runs that wait to start, and the permits that limit how many run at the same time."""
