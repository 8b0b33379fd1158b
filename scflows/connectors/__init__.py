"""Clients for other systems: HTTP, brokers, buckets, programs, table files."""
