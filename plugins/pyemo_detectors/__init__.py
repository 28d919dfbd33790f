"""Built-in detectors of pyemo, written against its public API only."""
