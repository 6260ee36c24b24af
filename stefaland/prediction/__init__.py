"""What networks predict and how sure they are."""
