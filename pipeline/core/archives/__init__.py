"""Files in archives: their paths, and their copies on disk."""
