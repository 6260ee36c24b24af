"""Time axes: calendars, steps, gaps and how steps become days."""
