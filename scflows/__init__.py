"""Run YAML workflows from your crontab, spread out so they don't pile up."""

__version__ = "0.1.0"
