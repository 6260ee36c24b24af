"""What every other room stands on: errors, settings, files, provenance and units."""
