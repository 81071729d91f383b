"""The report: a static site that works from a file path, rendered from the files of a study run."""
