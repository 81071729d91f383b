"""Files of data sets for tests: photographs, masks of all kinds, lists."""

import numpy as np
from PIL import Image


def save_photo(path, size=(4, 3), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 77).save(path)


def save_mask(path, codes, kind="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = np.asarray(codes)
    if kind == "P":
        image = Image.fromarray(codes.astype(np.uint8)).copy()
        # A palette as VOC has it, in which index and colour have nothing to do with each other.
        image.putpalette([(7 * value + 31) % 256 for value in range(768)])
        image.save(path)
    elif kind == "16":
        Image.fromarray(codes.astype(np.uint16)).save(path)
    elif kind == "RGB":
        Image.fromarray(codes.astype(np.uint8), "RGB" if codes.shape[-1] == 3 else None).save(path)
    else:
        Image.fromarray(codes.astype(np.uint8)).save(path)


def lines(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))
