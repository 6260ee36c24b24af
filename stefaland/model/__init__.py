"""Networks, and their adapters, heads and losses."""
