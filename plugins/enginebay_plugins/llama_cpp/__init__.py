"""llama.cpp as two backends; see the specs."""
