"""Checks whether devices publish as expected.

`thresholds` has the limits, `rules` finds the problems of one device, `blueprint` the sensors it needs, `fetch` gets
many devices with few requests, `check_round` checks them, and `last_results` stores the known problems, so that each is
reported once.
"""
