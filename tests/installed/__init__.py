"""What is installed against what this release installs: every kind of change to a database is found and named."""
