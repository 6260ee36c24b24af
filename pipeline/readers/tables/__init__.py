"""Tables and series of stations in the forms in which they are published."""
