"""What ran and what it wrote: run records, logs, retention."""
