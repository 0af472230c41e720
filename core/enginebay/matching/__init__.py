"""Matching: which backend on which device, and why."""
