"""The generator of `scenes`: images with exact masks and captions."""
