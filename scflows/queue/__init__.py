"""Which run may start now: how many run at once, and the runs that wait."""
