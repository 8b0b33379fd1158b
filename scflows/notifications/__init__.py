"""Hooks, pings and alerts."""
