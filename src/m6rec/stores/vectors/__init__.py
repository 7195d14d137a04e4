"""Items as vectors that can be searched, live: exact, an inverted file, or Qdrant."""
