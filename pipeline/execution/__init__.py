"""Tiles run here, by threads or on a cluster, and a ledger of those done."""
