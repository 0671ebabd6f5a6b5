"""Tests of the outbox, the transports, the signature and the relay: real PostgreSQL, real HTTP, real processes."""
