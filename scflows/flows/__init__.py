"""Flow files: the model, the parser, the loader, the JSON Schema."""
