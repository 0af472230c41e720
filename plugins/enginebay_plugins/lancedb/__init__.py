"""LanceDB."""

api_version = 1
