"""Generators that live as long as a test class."""

from class_bays import open_generator

__all__ = ["open_generator"]
