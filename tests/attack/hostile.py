"""Hostile input to the command line: whatever an image, class file, protocol, checkpoint, mask or option holds, the
answer is a result or one line and exit code 2; no error of the program, no crash, no endless wait."""

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from damage import damaged
from evaluation_helpers import write_folder
from forks import Child
from PIL import Image
from safetensors.torch import load_file, save_file

import ovss
from ovss import tiny
from ovss.cli import main
from ovss.protocols.schema import DEFAULTS

BATCH = 25
"""Inputs that one child process takes one after the other."""
CLASSES = ("-c", "grass; sky")
HEADS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"RIFF\x20\0\0\0WEBP",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"P6\n9 9\n",
    b"",
)
VALUES = (
    *(0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 0.0, -0.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")),
    *("", "none", "shared", "a" * 5000, "\u202e", "\U0001f600", "\x1b[31m", "cat\ndog", True, False, None),
    *([], [[]], [0], ["a {}."], ["{}", "{}"], {}, {"a": {"b": []}}),
)


class Input(NamedTuple):
    """Words of a command line, and whether nothing but a refusal is right."""

    words: list[str]
    refuse: bool


class Makers:
    """What makes hostile inputs, each from random draws, in a folder."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw, self.number = folder, draw, 0
        scene = ovss.load_dataset("scenes")[0].image
        self.good = folder / "good.png"
        scene.save(self.good)
        self.encoded = {}
        for suffix, options in (
            (".png", {}),
            (".jpg", {}),
            (".webp", {}),
            (".bmp", {}),
            (".gif", {}),
            (".tif", {"compression": "tiff_lzw"}),
        ):
            buffer = io.BytesIO()
            scene.resize((40, 30)).save(
                buffer, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper()), **options
            )
            self.encoded[suffix] = buffer.getvalue()
        self.weights = load_file(tiny.WEIGHTS)
        self.data = write_folder(folder / "data", images=2, size=(40, 30))
        self.kinds: dict[str, Callable[[], Input]] = {
            "image": self.image,
            "odd image": self.odd_image,
            "class file": self.class_file,
            "protocol": self.protocol,
            "checkpoint": self.checkpoint,
            "mask": self.mask,
            "option": self.option,
        }

    def path(self, suffix: str) -> Path:
        self.number += 1
        return self.folder / f"input{self.number}{suffix}"

    def segment(self, *words: object, refuse: bool = False, image: Path | None = None) -> Input:
        words = ("segment", image or self.good, *words, "-o", self.folder / "out", "--device", "cpu")
        return Input(list(map(str, words)), refuse)

    def image(self) -> Input:
        """A damaged file, or random bytes behind a true beginning."""
        suffix = self.draw.choice(list(self.encoded))
        content = self.encoded[suffix]
        path = self.path(self.draw.choice([suffix, suffix, *self.encoded]))
        if self.draw.random() < 0.7:
            for _ in range(self.draw.randint(1, 3)):
                content = damaged(content, self.draw)[1] if content else b""
        else:
            content = self.draw.choice(HEADS) + self.draw.randbytes(self.draw.randint(0, 300))
        path.write_bytes(content)
        return self.segment(*CLASSES, image=path, refuse=not content)

    def odd_image(self) -> Input:
        """A true file of an unusual kind, or no file at all."""
        kind = self.draw.choice(
            ["fifo", "device", "loop", "folder", "bomb", "nan", "mode", "thin", "name", "long", "missing"]
        )
        path = self.path(".png")
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            path = Path(self.draw.choice(["/dev/zero", "/dev/null", "/dev/random", "/proc/self/mem", "/dev/stdin"]))
        elif kind == "loop":
            path.symlink_to(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "bomb":
            side = self.draw.choice([60_000, 2**31 - 1, 0])
            head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
            path.write_bytes(HEADS[0] + struct.pack(">I", 13) + b"IHDR" + head + b"\0\0\0\0")
        elif kind == "nan":
            path = path.with_suffix(".tif")
            Image.fromarray(np.full((20, 20), np.nan, dtype=np.float32)).save(path)
        elif kind == "mode":
            mode = self.draw.choice(["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16"])
            path = path.with_suffix(".tif")
            Image.new(mode, (self.draw.randint(16, 60), self.draw.randint(16, 60))).save(path)
            return self.segment(*CLASSES, image=path)
        elif kind == "thin":
            sides = (1, self.draw.choice([1, 16, 5000]))
            Image.new("RGB", sides if self.draw.random() < 0.5 else sides[::-1]).save(path)
            return self.segment(*CLASSES, image=path)
        elif kind == "name":
            path = self.folder / self.draw.choice(
                ["a\nb.png", "\x1b[31mred.png", "-o.png", "*.png", " .png", "\u202egnp.png", "'; rm x.png"]
            )
            shutil.copy(self.good, path)
            return self.segment(*CLASSES, image=path)
        elif kind == "long":
            path = self.folder / ("x" * 5000 + ".png")
        return self.segment(*CLASSES, image=path, refuse=True)

    def class_file(self) -> Input:
        """A file of classes that holds anything."""
        suffix = self.draw.choice([".toml", ".json", ".txt"])
        path = self.path(suffix)
        kind = self.draw.choice(["bytes", "value", "deep", "utf16", "nul", "twice", "empty", "cut"])
        if kind == "bytes":
            path.write_bytes(self.draw.randbytes(self.draw.randint(1, 200)))
        elif kind == "value":
            content = {self.draw.choice(["classes", "background", "x"]): self.draw.choice(VALUES) for _ in range(2)}
            path.write_text(
                json.dumps(content) if suffix == ".json" else as_toml(content), encoding="utf-8", errors="replace"
            )
        elif kind == "deep":
            path.write_text('{"classes": ' + "[" * 100_000 if suffix == ".json" else "classes = " + "[" * 100_000)
        elif kind == "utf16":
            path.write_text("cat\ndog\n", encoding="utf-16")
        elif kind == "nul":
            path.write_bytes(b"cat\0\ndog\n")
        elif kind == "twice":
            path.write_text(
                {".toml": 'classes = ["cat", "cat"]', ".json": '{"classes": ["cat", "cat"]}', ".txt": "cat\ncat\n"}[
                    suffix
                ]
            )
        elif kind == "cut":
            path.write_text({".toml": 'classes = ["cat", ', ".json": '{"classes": ["cat"', ".txt": ""}[suffix])
        else:
            path.write_text("")
        return self.segment("-c", path, refuse=kind in ("deep", "utf16", "nul", "twice", "cut", "empty"))

    def protocol(self) -> Input:
        """A protocol with random values, or a damaged one."""
        path = self.path(".toml")
        if self.draw.random() < 0.3:
            text = (Path(ovss.__file__).parent / "protocols" / "study.toml").read_bytes()
            path.write_bytes(damaged(text, self.draw)[1])
        else:
            fields = {
                name: self.draw.choice(VALUES) for name in self.draw.sample(sorted(DEFAULTS), self.draw.randint(1, 3))
            }
            path.write_text('extends = "study"\n' + as_toml(fields), encoding="utf-8", errors="replace")
        return self.segment(*CLASSES, "--protocol", path)

    def checkpoint(self) -> Input:
        """Weights that are damaged, not finite, of another model, or a program."""
        kind = self.draw.choice(["damaged", "nan", "key", "shape", "pickle", "text", "zip", "dtype"])
        path = self.path(
            self.draw.choice([".pt", ".pth", ".bin"]) if kind in ("pickle", "text", "zip") else ".safetensors"
        )
        weights = dict(self.weights)
        name = self.draw.choice(sorted(weights))
        if kind == "damaged":
            path.write_bytes(damaged(Path(tiny.WEIGHTS).read_bytes(), self.draw)[1])
            return self.segment(*CLASSES, "--pretrained", path)
        if kind == "nan":
            bad = weights[name].clone().flatten()
            bad[self.draw.randrange(len(bad))] = self.draw.choice([float("nan"), float("inf")])
            # A table of words is only read where these words are, and masked places nowhere.
            weights[name] = torch.full_like(weights[name], float("nan"))
        elif kind == "key":
            weights[name + "x"] = weights.pop(name)
        elif kind == "shape":
            weights[name] = torch.zeros(*weights[name].shape, 2)
        elif kind == "dtype":
            weights[name] = weights[name].to(
                self.draw.choice([torch.float16, torch.bfloat16, torch.float64, torch.int8])
            )
        if path.suffix == ".safetensors":
            save_file({key: value.contiguous() for key, value in weights.items()}, path)
        elif kind == "pickle":
            path.write_bytes(pickle.dumps({"state_dict": Evil(self.folder / "ran")}))
        else:
            path.write_bytes(b"PK\3\4" + self.draw.randbytes(200) if kind == "zip" else b"weights")
        return self.segment(*CLASSES, "--pretrained", path, refuse=kind not in ("dtype", "nan"))

    def mask(self) -> Input:
        """A ground truth that is damaged or of another kind."""
        path = self.data / "masks" / "p00.png"
        Image.fromarray(np.zeros((30, 40), np.uint8)).save(path)
        kind = self.draw.choice(["damaged", "labels", "size", "mode", "gone"])
        if kind == "damaged":
            path.write_bytes(damaged(path.read_bytes(), self.draw)[1])
        elif kind == "labels":
            Image.fromarray(np.full((40, 30), self.draw.choice([4, 77, 254]), np.uint8)).save(path)
        elif kind == "size":
            Image.fromarray(np.zeros((self.draw.randint(1, 29), 40), np.uint8)).save(path)
        elif kind == "mode":
            Image.new(self.draw.choice(["RGB", "RGBA", "LA"]), (40, 30)).save(path)
        else:
            path.unlink()
        # The command runs in another process, later: each input has a data set of its own.
        own = self.path("")
        shutil.copytree(self.data, own)
        words = ["evaluate", "--data", "folder", "--root", str(own), "--methods", "clip", "--device", "cpu"]
        return Input(words, kind in ("labels", "size", "gone"))

    def option(self) -> Input:
        """An option with a value that makes no sense."""
        value = str(
            self.draw.choice([value for value in VALUES if not isinstance(value, list | dict | bool | type(None))])
        )
        name = self.draw.choice(
            [
                "--background",
                "--batch-size",
                "--device",
                "--dtype",
                "--windows",
                "--model",
                "--pretrained",
                "--method",
                "--protocol",
                "--companion",
                "-c",
                "parameter",
            ]
        )
        words = ["segment", str(self.good), "-o", str(self.folder / "out")]
        if name == "parameter":
            words += ["--method", f"naclip(sigma={value})"]
        elif name == "-c":
            words += ["-c", value]
        else:
            words.append(f"{name}={value}")
        return Input(words if name == "-c" else [*words, *CLASSES], False)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def as_toml(fields: dict) -> str:
    """Fields as TOML, as far as it has such values."""

    def text(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {text(inner)}" for key, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(text, value)) + "]"
        return json.dumps(value) if isinstance(value, str) else str(value).lower()

    return "".join(f"{name} = {text(value)}\n" for name, value in fields.items())


def attack(folder: Path, count: int, seed: int) -> Counter[str]:
    """Give hostile inputs to the command line.

    Raises:
        AssertionError: One ended in another way than with a result or with one line; names and shows it.
    """
    makers, outcomes = Makers(folder, random.Random(seed)), Counter()
    kinds = list(makers.kinds)
    for start in range(0, count, BATCH):
        batch = [kinds[number % len(kinds)] for number in range(start, min(start + BATCH, count))]
        inputs = [makers.kinds[kind]() for kind in batch]
        done = folder / "done.json"
        done.unlink(missing_ok=True)
        ended = Child(lambda inputs=inputs, done=done: _answer(inputs, done), folder / "log").wait(60 + 20 * len(batch))
        answers = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
        for number, (kind, given, answer) in enumerate(zip(batch, inputs, answers, strict=False), start):
            what = f"input {number} of seed {seed} ({kind}): {given.words}"
            code, error = answer
            assert code in (0, 1, 2), f"{what}: exit code {code}: {error[-3000:]}"
            assert "Traceback" not in error, f"{what}: {error[-3000:]}"
            assert code == 0 or error.rstrip("\n").splitlines()[-1].startswith("ovss"), f"{what}: {error[-3000:]}"
            assert code or not given.refuse, f"{what}: taken without a word"
            outcomes[f"{kind}: {'refused' if code else 'a result'}"] += 1
        what = f"after input {start + len(answers) - 1} of seed {seed}"
        assert len(answers) == len(batch), f"{what}: the process ended with {ended}; next: {inputs[len(answers)].words}"
        assert not (folder / "ran").exists(), f"{what}: a pickle was run"
    return outcomes


def _answer(inputs: list[Input], done: Path) -> int:
    """Run each input in this process and write a line with its exit code and errors before the next one."""
    for given in inputs:
        errors = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            try:
                code = main(given.words)
            except SystemExit as stop:
                code = int(stop.code or 0)
        with done.open("a") as file:
            file.write(json.dumps([code, errors.getvalue()]) + "\n")
    return 0
