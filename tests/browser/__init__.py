"""The admin in real Chromium: Debian's package, driven by playwright. Both are test-only; without them these tests skip."""
