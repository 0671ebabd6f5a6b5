"""Retention: what has ended goes, into an archive that proves it; what lives is not touched, whatever happens meanwhile."""
