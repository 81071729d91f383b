"""What a notebook imports: example images, outputs, timing.

Words of this room
    example: an image on a grid of whole patches, with the tokens of one pass and, where known, the class of each patch.
    output: a table, figure, timing or data file that a study notebook writes, with its caption.
    subject: something that is timed, in paired rounds with the plain model.
"""
