"""Built-in datasets of pyemo, written against its public API only."""
