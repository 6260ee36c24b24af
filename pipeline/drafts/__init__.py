"""Drafts of catalog entries from files: what they state, and what a person must decide."""
