"""The demo and its PostgreSQL, as processes that start and end for real."""
