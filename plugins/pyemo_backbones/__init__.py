"""Built-in backbones of pyemo, written against its public API only."""
