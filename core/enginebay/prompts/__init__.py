"""Prompts: chat templates rendered as the model wants them."""
