"""Dispatching GitHub Actions, against a local server that behaves as GitHub documents."""
