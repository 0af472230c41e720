"""onnxruntime."""

api_version = 1
