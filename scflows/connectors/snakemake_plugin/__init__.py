"""The folder that the Snakemake runner puts on the import path, so that Snakemake finds our logger plug-in."""
