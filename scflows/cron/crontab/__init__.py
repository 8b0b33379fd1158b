"""The user's crontab: our block in it, byte for byte safe."""
