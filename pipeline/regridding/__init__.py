"""Regridding of sources from any grid onto the target grid."""
