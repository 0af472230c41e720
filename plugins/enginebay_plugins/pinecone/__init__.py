"""Pinecone."""

api_version = 1
