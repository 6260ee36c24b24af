"""The networks, their adapters, heads and losses."""
