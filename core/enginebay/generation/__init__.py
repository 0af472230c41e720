"""What users hold of a generator: chat and completion, whole or streamed, blocking or async."""
