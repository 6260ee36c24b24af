"""The catalog: what data there are, as typed entries."""
