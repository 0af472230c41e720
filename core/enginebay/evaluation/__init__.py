"""Evaluating models: quality after quantising, and tasks."""
