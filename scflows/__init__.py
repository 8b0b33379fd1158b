"""Flows in YAML, put on the system's own crontab so that the load stays level."""

__version__ = "0.1.0"
