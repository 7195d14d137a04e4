"""Segment states by content: memory, LMDB, Redis."""
