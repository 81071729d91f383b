"""Images as people have them: read, resized, coloured, written small; always upright 8-bit RGB once they are read."""

from ovss.images.reading import SUFFIXES, check_regular, find_images, image_size, load_image, opened, to_rgb

__all__ = ["SUFFIXES", "check_regular", "find_images", "image_size", "load_image", "opened", "to_rgb"]
