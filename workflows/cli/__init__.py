"""The command line `stefaland`: commands in the order of the data, one file for each panel."""

from workflows.cli.entry import app, main

__all__ = ["app", "main"]
