"""Weaviate."""

api_version = 1
