"""Engines that live as long as a test class."""

from class_bays import class_embedder, open_generator

__all__ = ["class_embedder", "open_generator"]
