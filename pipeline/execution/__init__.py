"""Execution of the tiles of a stage, locally or on a cluster, and the ledger of finished tiles."""
