"""Whole outside systems."""
