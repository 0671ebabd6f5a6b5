"""Projections equal the fold of the log; where a hand has changed them, that is found and put right."""
