"""sentence-transformers."""

api_version = 1
