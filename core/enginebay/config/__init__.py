"""Configuration: what can be set, where it may stand, and where each value came from."""

from enginebay.config.loading import LoadedSettings as LoadedSettings
from enginebay.config.loading import load_settings as load_settings
from enginebay.config.settings import EmbedderConfig as EmbedderConfig
from enginebay.config.settings import GeneratorConfig as GeneratorConfig
from enginebay.config.settings import Settings as Settings
from enginebay.config.settings import StoreConfig as StoreConfig
from enginebay.config.sources import Source as Source
from enginebay.config.sources import SourceKind as SourceKind
