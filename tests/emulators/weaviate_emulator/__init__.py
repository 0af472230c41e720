"""An emulator of a Weaviate server for tests. It is not Weaviate.

It speaks REST and gRPC on loopback ports, as the official client wants them, and refuses what Weaviate 1.34 refuses, as
far as the store in enginebay can come upon it: names, types, dimensions, tenants, filters. Vector search is exact,
keyword search is plain BM25; nothing is kept on a disk. What it was not written for it refuses as unimplemented.
"""

from emulators.weaviate_emulator.server import WeaviateEmulator

__all__ = ["WeaviateEmulator"]
