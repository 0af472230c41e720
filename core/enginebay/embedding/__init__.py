"""Embedding texts: the handle that users hold, and what backends share."""
