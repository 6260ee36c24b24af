"""Versions of source files: what they hold, and whether it stays the same."""
