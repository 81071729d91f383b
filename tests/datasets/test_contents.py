"""Fingerprints follow contents; files are hashed once and remembered until they change."""

import os
from pathlib import Path

import pytest

from ovss.datasets import contents
from ovss.datasets.contents import UNREADABLE, digests
from ovss.files import file_digest

OLD = 1_600_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path, monkeypatch):
    paths = [tmp_path / f"{number}.bin" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100)
        os.utime(path, (OLD, OLD))
    # As if the files had been written long ago; their times of change cannot be set.
    monkeypatch.setattr(contents, "TICK_NS", 0)
    return paths


@pytest.fixture
def read(monkeypatch):
    """Names of the files whose contents were read."""
    names = []
    monkeypatch.setattr(contents, "file_digest", lambda path: names.append(Path(path).name) or file_digest(path))
    return names


def test_files_are_read_once(files, read):
    expected = [file_digest(path) for path in files]
    assert digests(files) == expected
    assert sorted(read) == sorted(path.name for path in files)
    read.clear()
    assert digests(files) == expected
    assert read == []


def test_a_change_of_equal_size_and_time_is_seen(files, read):
    first = digests(files)
    read.clear()
    files[3].write_bytes(b"x" * 100)
    os.utime(files[3], (OLD, OLD))
    second = digests(files)
    assert read == ["3.bin"]
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, True, True, False, True]


def test_files_that_just_changed_are_not_remembered(files, read, monkeypatch):
    monkeypatch.setattr(contents, "TICK_NS", 10**12)
    digests(files)
    digests(files)
    assert len(read) == 2 * len(files)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"files": {}, "digest": 3}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_cache_costs_time_and_nothing_else(files, cache, damage):
    expected = digests(files)
    (stored,) = (cache / "contents").glob("*.json")
    stored.write_bytes(damage)
    assert digests(files) == expected


def test_a_flipped_digit_in_the_cache_is_not_believed(files, cache):
    expected = digests(files)
    (stored,) = (cache / "contents").glob("*.json")
    stored.write_text(stored.read_text().replace(expected[0], expected[1]))
    assert digests(files) == expected


def test_a_cache_that_cannot_be_written_does_no_harm(files, cache):
    cache.write_text("in the way")
    assert digests(files) == [file_digest(path) for path in files]


def test_what_cannot_be_read_is_said_and_a_pipe_is_not_opened(files, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert digests([files[0], tmp_path / "gone", tmp_path / "pipe", tmp_path])[1:] == [UNREADABLE] * 3
