"""Durable multi-step workflows for Django on an event log in PostgreSQL."""

__version__ = "0.1.0"
