"""Tests of django-hookflow: real PostgreSQL, real HTTP, real processes."""
