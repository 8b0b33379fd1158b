"""Slots that nobody started: found, recorded, made up."""
