"""HTTP requests, responses and pagination."""
