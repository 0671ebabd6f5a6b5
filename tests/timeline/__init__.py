"""The story of a run, in words and in characters."""
