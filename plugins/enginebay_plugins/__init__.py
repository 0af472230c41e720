"""First-party plugins of enginebay, one package per backend family."""
