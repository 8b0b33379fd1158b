"""The built-in step types, one file each."""
