"""Stations, events and regions on a grid."""
