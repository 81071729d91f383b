"""A random model and a small data set for the tests of this room."""

from evaluation_helpers import backbone, checkpoint, data, folder

__all__ = ["backbone", "checkpoint", "data", "folder"]
