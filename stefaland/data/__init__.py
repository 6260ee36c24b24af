"""Cell tables in memory or in shards, and the batches drawn from them."""
