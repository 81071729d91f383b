"""Pages that answer to clicks: the attention explorer in a notebook, and the playground of `ovss app`.

Words of this room
    board: the image as a grid of buttons, one for each patch.
    map: what the chosen patch attends to, under one method.
    view: the widget that shows everything.
"""

__all__ = ["HOST"]

HOST = "127.0.0.1"
"""The only address that the playground is served on: this machine's own."""
