"""Answers in milliseconds: the late-interaction engine, its runtimes, batching of requests."""
