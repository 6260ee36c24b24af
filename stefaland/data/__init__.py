"""Cells in memory or in shards, drawn as batches."""
