"""Qdrant."""

api_version = 1
