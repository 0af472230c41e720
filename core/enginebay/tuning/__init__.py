"""Tuning jobs before they run: their data, their file, the memory they will take."""
