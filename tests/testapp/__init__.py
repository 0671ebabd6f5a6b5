"""A user's app: a model that atomic steps write to, and workflows."""
