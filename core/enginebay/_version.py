"""The version of enginebay, apart so that `enginebay --version` and the build read it cheaply."""

__version__ = "0.1.0"
