"""Shared ground of all packages: errors, settings, plugins, files, provenance and units."""
