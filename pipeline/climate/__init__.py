"""Climate statics: signatures of each location's forcings over the training period."""
