"""MATLAB 5 files: agreement with SciPy on whole ones, refusal of damaged ones, and never a crash."""

import os

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ovss.datasets.matlab import read_matrix
from ovss.errors import InputError

TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(37, 53), (1, 1), (1, 5), (3, 1)])
def test_whole_files_are_read_as_scipy_reads_them(tmp_path, dtype, compressed, shape):
    values = np.random.default_rng(0).integers(0, 120, shape).astype(dtype)
    path = tmp_path / "a.mat"
    savemat(path, {"other": np.eye(3), "text": "abc", "LabelMap": values}, do_compression=compressed)
    found = read_matrix(path, "LabelMap")
    assert found.dtype == np.int64
    assert np.array_equal(found, loadmat(path)["LabelMap"])
    assert np.array_equal(found, values)


@pytest.mark.parametrize("compressed", [False, True])
def test_no_mutation_crashes_or_passes_for_another_label_map(tmp_path, compressed):
    truth = np.random.default_rng(1).integers(0, 460, (60, 80)).astype(np.uint16)
    path = tmp_path / "a.mat"
    savemat(path, {"LabelMap": truth}, do_compression=compressed)
    whole = path.read_bytes()
    equal = other = 0
    refused = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        content = bytearray(whole)
        # Mostly where the structure is declared; data bytes of uncompressed files carry no checksum.
        reach = min(len(content), 200 if seed % 4 else len(content))
        kind = seed % 5
        place = int(rng.integers(0, reach))
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 2:
            content[place : place + 4] = rng.bytes(4)
        elif kind == 3:
            del content[place : place + int(rng.integers(1, 9))]
        else:
            content[place:place] = rng.bytes(int(rng.integers(1, 9)))
        path.write_bytes(content)
        try:
            found = read_matrix(path, "LabelMap")
        except InputError as error:
            refused.append(str(error))
        else:
            equal += np.array_equal(found, truth)
            other += not np.array_equal(found, truth)
    assert len(refused) > 100
    assert all("a.mat" in message and "\n" not in message for message in refused)
    assert equal > 10
    # Without compression MATLAB's format has no checksum; a changed data byte is a changed label.
    assert other == 0 if compressed else other <= 100


def test_what_is_not_a_label_map_is_refused(tmp_path):
    path = tmp_path / "a.mat"
    for value, message in (
        (np.zeros((2, 3, 4)), "dimensions"),
        (np.full((2, 2), 0.5), "not whole"),
        (np.full((2, 2), np.nan), "not whole"),
        (np.ones((2, 2)) * 1j, "real numbers"),
        ("text", "real numbers"),
        (np.zeros((0, 0)), "dimensions"),
    ):
        savemat(path, {"LabelMap": value})
        with pytest.raises(InputError, match=rf"a.mat' cannot be read as a .mat file: .*{message}"):
            read_matrix(path, "LabelMap")
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform".ljust(128) + b"\x89HDF")
    with pytest.raises(InputError, match=r"version 7.3; save it with '-v7'"):
        read_matrix(path, "LabelMap")


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ovss.datasets.matlab.LARGEST", 1 << 20)
    savemat(tmp_path / "a.mat", {"LabelMap": np.zeros((2000, 2000), np.uint8)}, do_compression=True)
    with pytest.raises(InputError, match="cut off or too large"):
        read_matrix(tmp_path / "a.mat", "LabelMap")


def test_a_pipe_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "a.mat")
    with pytest.raises(InputError, match="no regular file"):
        read_matrix(tmp_path / "a.mat", "LabelMap")
