"""Measures milliseconds: our plans, and rivals on the same pairs in the same run."""
