"""An emulator of Pinecone's HTTP API, version 2026-07, for tests. It is not Pinecone.

The official SDK talks to it over loopback. It keeps what Pinecone documents: types of metadata, limits, errors, and
that a write is seen some time after it was acknowledged, by statistics later than by queries. What Pinecone does not
document is decided against the client, or left to the test. It has the calls that the plugin makes, and no others.
"""

from emulators.pinecone_emulator.server import Fault, PineconeEmulator

__all__ = ["Fault", "PineconeEmulator"]
