"""Slots that were not started: found, recorded, caught up."""
