"""Flow files: the model, the parser, the loader, the schema."""
