"""Any source grid onto the target grid."""
