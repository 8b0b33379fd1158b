"""Checks whether devices publish as expected.

`thresholds` has the limits, `rules` finds the problems of one device, `blueprint` the sensors it needs, `check_round`
fetches and checks many devices, and `last_results` stores the known problems, so that each is reported once.
"""
