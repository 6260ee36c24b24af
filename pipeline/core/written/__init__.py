"""What is written and printed: references instead of values of the environment, printable text."""
