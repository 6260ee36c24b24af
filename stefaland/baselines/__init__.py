"""The models that ours is compared with."""
