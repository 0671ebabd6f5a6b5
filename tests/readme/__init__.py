"""The README says what is so: its snippets run, its commands exist; and the benchmarks still work."""
