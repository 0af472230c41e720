"""The hardware probe."""
