"""Candide-3: a wireframe face fitted to 68 landmarks, which tells how a head is turned and how far its action units are moved."""
