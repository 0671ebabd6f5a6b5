"""Settings, system checks and the command that prints them."""
