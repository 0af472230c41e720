"""Plugins as the commands load them."""

from __future__ import annotations

from enginebay.plugins import Plugins, load_plugins


def configured_plugins() -> Plugins:
    """The plugins that the configuration lets in."""
    return load_plugins()
