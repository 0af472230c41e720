"""An emulator of a Qdrant server's REST interface, for tests. It is not Qdrant.

The official client talks to it over loopback. Behind it is the local mode of that same client, so that it shows how
requests are made and answers and errors are read; of the server's own filters, index and speed it shows nothing. What
the server documents besides is kept: a limit on a request's size, api keys, no collection twice, and facets for
indexed payload fields alone. It has the calls that the plugin makes, and no others.
"""

from emulators.qdrant_emulator.server import QdrantEmulator

__all__ = ["QdrantEmulator"]
