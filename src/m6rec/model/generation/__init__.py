"""Writing texts token by token: caches, searches, constraints."""
