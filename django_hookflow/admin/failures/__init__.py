"""Failures: dead letters, each with its error, and all of them by cause.

A cause is the fingerprint that every failure records (:mod:`.causes`); :mod:`.cause_links` leads from it to the list of
its runs and to replaying them, and :mod:`.errors` writes an error as a row has room for.
"""
