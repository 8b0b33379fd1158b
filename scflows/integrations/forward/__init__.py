"""Forward messages between brokers."""
