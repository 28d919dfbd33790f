"""The system ``candide-au``: emotions from the action units of Candide-3 or from 68 landmarks (Chang 2021, sections 4.1 and 4.2)."""
