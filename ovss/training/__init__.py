"""How `tiny` was made: views, recipe, trainer and the record of what came out."""
