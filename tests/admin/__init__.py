"""The admin, as a browser sees it: requests in, HTML out and parsed."""
