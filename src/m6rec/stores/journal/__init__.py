"""What happened and what there is, kept before it is acknowledged: SQLite or PostgreSQL."""
