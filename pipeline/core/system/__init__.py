"""The system that the process runs on: its errors, its memory, and calls that never end."""
