"""A user's project and its processes. None of them is a test environment in Django's sense."""
