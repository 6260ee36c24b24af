"""Checks of files before a library opens them: that they lead to no file beyond their folder."""
