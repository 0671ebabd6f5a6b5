"""The log's own guarantees, asked of the database by plain SQL."""
