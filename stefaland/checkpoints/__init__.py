"""Checkpoints: trained networks on disk."""
