"""Built-in fusions of pyemo, written against its public API only."""
