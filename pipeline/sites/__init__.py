"""Stations, events and regions matched to the cells of a grid."""
