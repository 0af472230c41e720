"""Chroma."""

api_version = 1
