"""The mode without a database: histories in messages."""
