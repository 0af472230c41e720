"""PostgreSQL with pgvector."""

api_version = 1
