"""Channels, sinks, receptive fields and shifts, on models and maps whose answer is known."""

import numpy as np
import pytest
import torch
from method_helpers import random_backbone

from ovss.analysis import massive_channels, receptive_field, shift_energy, sink_statistics, stationary
from ovss.errors import InputError
from ovss.methods import create_method


@pytest.fixture(scope="module")
def backbone():
    return random_backbone(depth=3, heads=2, width=32)


def pixels(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_largest_channel_is_found_with_its_ratio(backbone):
    tokens = backbone.encode_tokens(pixels(2, 3, 32, 32))
    state = tokens.hidden(1)
    state[1, 5, 7] = -500.0
    found = massive_channels(tokens, [1], images=["a", "b"]).set_index("image")
    assert found.loc["b", "channel"] == 7
    assert found.loc["b", "ratio"] == pytest.approx(500 / np.median(state[1, 1:].abs().numpy()), rel=0.02)
    assert found.loc["a", "ratio"] < 100


def test_the_stationary_vector_is_the_left_eigenvector_of_eigenvalue_one(backbone):
    maps = torch.softmax(2 * pixels(2, 9, 9), dim=-1)
    found = stationary(maps)
    values, vectors = np.linalg.eig(maps[1].double().numpy().T)
    expected = np.real(vectors[:, np.argmax(np.real(values))])
    np.testing.assert_allclose(found[1], expected / expected.sum(), atol=1e-6)
    with pytest.raises(InputError, match="must sum to 1"):
        stationary(2 * maps)
    with pytest.raises(InputError, match="no single stationary vector"):
        stationary(torch.eye(3))


def test_a_sink_has_more_than_its_share(backbone):
    tokens = backbone.encode_tokens(pixels(1, 3, 32, 32))
    found = sink_statistics(tokens, [2])
    assert set(found["measure"]) == {"sink_patch", "sink_cls"}
    assert found["head"].tolist() == [1, 2, 1, 2]
    assert (found[found["measure"] == "sink_patch"]["value"] > 1).all()


def test_a_receptive_field_agrees_with_finite_differences(backbone):
    method, image = create_method("maskclip"), pixels(1, 3, 24, 24)
    field = receptive_field(backbone, method, image, (1, 2))
    assert field.shape == (1, 3, 3)
    assert float(field.sum()) == pytest.approx(1)
    probe = torch.randn(32, generator=torch.Generator().manual_seed(0)).sign()

    def value(changed):
        return float((method.patch_embeddings(backbone.encode_tokens(changed))[0, 5] * probe).sum())

    energy = torch.zeros(3, 3)
    for row, column in np.ndindex(3, 3):
        for channel, y, x in np.ndindex(3, 8, 8):
            step = torch.zeros_like(image)
            step[0, channel, 8 * row + y, 8 * column + x] = 5e-2
            energy[row, column] += ((value(image + step) - value(image - step)) / 1e-1) ** 2
    assert torch.allclose(field[0], energy / energy.sum(), atol=0.02)
    with pytest.raises(InputError, match=r"patch \(3, 0\) is outside"):
        receptive_field(backbone, method, image, (3, 0))


def test_no_energy_is_left_where_neither_place_nor_surroundings_count():
    blind, method, image = random_backbone(depth=1, heads=2, width=32), create_method("maskclip"), pixels(3, 72, 80)
    placed = shift_energy(blind, method, image)  # windows of 5 x 6 patches
    assert placed.shape == (1, 2)
    assert float(placed.min()) > 1e-3, "positions count"
    with torch.no_grad():
        blind.model.visual.positional_embedding.zero_()
    assert float(shift_energy(blind, method, image).abs().max()) < 1e-5
    with pytest.raises(InputError, match="no patch in all windows at reach=2"):
        shift_energy(blind, method, pixels(3, 32, 64))
