"""Pages that answer: the attention explorer and the playground."""
