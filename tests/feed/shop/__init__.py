"""A project's app with subscribers, for processes of their own."""
