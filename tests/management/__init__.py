"""What holds for all commands: how they end where they cannot work, and how they look on a terminal."""
