"""Sampling: one meaning on every engine."""
