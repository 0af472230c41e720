"""Plugins as the commands load them."""

from __future__ import annotations

from enginebay.errors import ConfigError
from enginebay.plugins import Plugins, load_plugins


def configured_plugins() -> Plugins:
    """The plugins that the configuration lets in; a broken configuration lets in what the environment does.

    The commands that use this must work whatever is wrong; `enginebay doctor` says what it is.
    """
    from enginebay.config import load_settings

    try:
        chosen = load_settings().settings.plugins
    except ConfigError:
        return load_plugins()
    return load_plugins(allow=chosen.allow, deny=chosen.deny)
