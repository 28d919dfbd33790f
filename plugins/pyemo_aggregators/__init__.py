"""Built-in aggregators of pyemo, written against its public API only."""
