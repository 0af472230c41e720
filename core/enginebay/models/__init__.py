"""Models: references, catalogue, headers, fetching."""
