"""Measuring pyemo against its baselines and against what the machine can do: what ``pyemo bench`` and the suites under ``benchmarks/`` share."""
