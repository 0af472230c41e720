"""Plugins: found one by one, loaded behind guards, shown with their reasons when they do not load.

A plugin is a module named by an entry point of the group `enginebay`. It is taken whole or quarantined whole; the
others never notice. See docs/plugins.md for the rules that plugin authors keep.
"""

from enginebay.plugins.loading import load_modules, load_plugins
from enginebay.plugins.records import BackendState, Failure, PluginRecord, PluginState
from enginebay.plugins.registry import Plugins

__all__ = [
    "BackendState",
    "Failure",
    "PluginRecord",
    "PluginState",
    "Plugins",
    "load_modules",
    "load_plugins",
]
