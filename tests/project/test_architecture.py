"""The page on the architecture says what the tree is, and the tree keeps its rules."""

import ast
import re
import subprocess

from paths import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def tracked(folder: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_the_page_names_every_room_of_the_package_and_no_other() -> None:
    rooms = {path.split("/")[1] + ("/" if path.count("/") > 1 else "") for path in tracked("ovss")} - {"py.typed"}
    table = PAGE.split("## Rooms")[1].split("Beside the package")[0]
    named = set(re.findall(r"`([a-z_]+(?:\.py|/))`", table))
    assert named == rooms - {"__init__.py", "__main__.py"}
    assert len(rooms) <= 26


def test_every_folder_named_on_the_page_exists() -> None:
    for folder in re.findall(r"`(notebooks|tests|reports|tools|docs)/`", PAGE):
        assert (ROOT / folder).is_dir()


def test_no_module_is_longer_than_350_lines() -> None:
    long = [p for p in tracked("ovss") if p.endswith(".py") and len((ROOT / p).read_text().splitlines()) > 350]
    assert long == []


def test_only_the_backbone_and_the_training_import_open_clip_or_timm() -> None:
    importing = set()
    for path in tracked("ovss"):
        if not path.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("open_clip", "timm") for name in names):
                importing.add(path.split("/")[1])
    assert importing <= {"backbone", "training"}


BESIDE_ROOMS = {"attack", "browser", "goldens", "helpers", "notebooks", "project"}
"""Folders of tests that belong to no single room."""


def test_the_folders_of_tests_mirror_the_rooms() -> None:
    rooms = {path.split("/")[1] for path in tracked("ovss") if path.count("/") > 1}
    folders = {path.split("/")[1] for path in tracked("tests") if path.count("/") > 1}
    assert folders - BESIDE_ROOMS <= rooms
    assert not [path for path in tracked("tests") if path.count("/") == 1 and path.split("/")[1].startswith("test_")]
