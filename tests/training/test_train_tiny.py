"""Training of the embedded model: it learns, stops and goes on without loss; and what the shipped weights can do."""

import copy
import csv
import json
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import ovss.tiny as tiny
from ovss import create_method, load_backbone
from ovss.backbone.names import register_tiny
from ovss.cli import main
from ovss.errors import InputError, Terminated
from ovss.files import file_digest
from ovss.metrics.intervals import compare_bootstrap
from ovss.scenes.captions import names
from ovss.scenes.objects import THINGS
from ovss.scenes.scenes import CLASSES, scene
from ovss.scenes.seeding import generator
from ovss.training import quality as examine
from ovss.training.data import MEAN, STD, CaptionTokens, Pool, make_batch
from ovss.training.optim import Muon, orthogonalise
from ovss.training.recipe import QUICK, Recipe, ViewRecipe
from ovss.training.train import run_training
from ovss.training.trainer import Trainer

MINUTE_RUN = Recipe(views=96, pool=48, batch=8, evaluate_every=48, evaluate_scenes=1, examine_scenes=2)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache folder for all runs of this module, so that their pool is rendered once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("OVSS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in training; several threads gain nothing on batches this small and stall on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pool(cache):
    rendered = Pool(cache, 256)
    rendered.render()
    rendered.finish()
    rendered.load()
    return rendered


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run_training(MINUTE_RUN, folder, threads=1)
    return folder


@pytest.fixture(scope="module")
def shipped():
    return load_backbone()


def weights(folder):
    return load_file(folder / "tiny.safetensors")


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls(pool):
    trainer = Trainer(Recipe(views=16 * 40, pool=256, batch=8, view=ViewRecipe(local=1, grouped=0)), pool)
    losses = [trainer.train_step().loss for _ in range(40)]
    assert np.mean(losses[-8:]) < np.mean(losses[:4]) - 0.1


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, uninterrupted):
    def interrupt_at_the_first_evaluation(line):
        if line.startswith("step 3  "):
            signal.raise_signal(signal.SIGINT)

    assert not run_training(MINUTE_RUN, tmp_path, threads=1, report=interrupt_at_the_first_evaluation)
    assert not (tmp_path / "tiny.safetensors").exists()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4
    assert run_training(MINUTE_RUN, tmp_path, threads=1, resume=True)
    assert same_weights(weights(tmp_path), weights(uninterrupted))
    assert len((tmp_path / "training_curve.csv").read_text().splitlines()) == 1 + 2


def test_sigterm_saves_a_checkpoint_and_says_how_to_go_on(tmp_path):
    def end_at_the_third_step(line):
        if line.startswith("step 3  "):
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated, match=f"^step 4 of {MINUTE_RUN.steps} is safe in '{tmp_path}'; --resume continues"):
        run_training(MINUTE_RUN, tmp_path, threads=1, report=end_at_the_third_step)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4
    assert signal.getsignal(signal.SIGTERM) is before


def test_two_processes_give_the_weights_of_one(tmp_path, uninterrupted):
    assert run_training(MINUTE_RUN, tmp_path, threads=2)
    assert same_weights(weights(tmp_path), weights(uninterrupted))


def test_a_second_run_takes_the_first_blocks_and_the_words_from_its_start(tmp_path, uninterrupted, pool):
    start = uninterrupted / "tiny.safetensors"
    taken = Trainer(replace(MINUTE_RUN, kept=3), pool, start=start).trainee.full_state()
    fresh = Trainer(MINUTE_RUN, pool).trainee.full_state()
    for name in weights(uninterrupted):
        block = name.removeprefix("visual.transformer.resblocks.").split(".")[0]
        other = fresh if block.isdigit() and int(block) >= 3 else weights(uninterrupted)
        assert torch.equal(taken[name], other[name]), name
    assert run_training(replace(MINUTE_RUN, kept=3), tmp_path, threads=1, start=start)
    record = json.loads((tmp_path / "tiny.json").read_text())
    assert record["training"]["recipe"]["start"] == file_digest(start)
    assert record["first_training"] == json.loads((uninterrupted / "tiny.json").read_text())["training"]


def test_a_start_that_is_missing_or_another_is_refused(tmp_path, uninterrupted):
    start = uninterrupted / "tiny.safetensors"
    with pytest.raises(InputError, match="no weights to start from"):
        run_training(MINUTE_RUN, tmp_path / "a", start=tmp_path / "none")
    with pytest.raises(InputError, match=f"has the hash {file_digest(start)[:12]}, but the recipe starts from 000"):
        run_training(replace(MINUTE_RUN, start="0" * 64), tmp_path / "b", start=start)
    with pytest.raises(InputError, match="file is not given"):
        run_training(replace(MINUTE_RUN, start="0" * 64), tmp_path / "c")


def test_another_seed_gives_other_weights(pool):
    a, b = (Trainer(Recipe(pool=256, seed=seed), pool).trainee.full_state() for seed in (0, 1))
    assert not torch.equal(a["visual.proj"], b["visual.proj"])


def test_a_run_leaves_record_and_curve(uninterrupted):
    record = json.loads((uninterrupted / "tiny.json").read_text())
    assert record["weights"]["sha256"] == file_digest(uninterrupted / "tiny.safetensors")
    assert record["training"]["views"] == MINUTE_RUN.views
    assert Recipe.from_dict(record["training"]["recipe"]) == MINUTE_RUN
    with open(uninterrupted / "training_curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["views"]) for row in rows] == [48, 96]
    assert {"loss", "naming", "clip_things", "clip_stuff", "naclip_things", "naclip_stuff"} <= rows[0].keys()


def test_exported_weights_load_in_plain_open_clip(uninterrupted):
    register_tiny()
    model: Any = open_clip.create_model("ovss-tiny", pretrained=str(uninterrupted / "tiny.safetensors"))
    saved = weights(uninterrupted)
    assert saved["token_embedding.weight"].shape == (49408, 64)
    assert torch.equal(model.visual.proj.detach(), saved["visual.proj"].float())


def test_the_trained_towers_are_those_of_open_clip(pool):
    trainee = Trainer(Recipe(pool=256), pool).trainee.eval()
    backbone = trainee.backbone()
    captions = [scene("train", i, size=(16, 16)).caption for i in range(12)]
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for ours, theirs in (
            (trainee.encode_captions(captions), backbone.encode_text(captions)),
            (trainee.encode_views(images, None), backbone.encode_image(images)),
        ):
            # The copy went through float16.
            assert torch.nn.functional.cosine_similarity(ours, theirs).min() > 0.999


def mean_cosines_in_the_middle(trainee, images):
    """Between patches of a view and between CLS, pair by pair, from the hidden states that the library reads."""
    tokens = trainee.backbone().encode_tokens(images)
    patches, cls = [], []
    for block in range(3, tokens.depth):
        states = tokens.hidden(block).double().numpy()
        unit = states / np.linalg.norm(states, axis=-1, keepdims=True)
        patches.append(np.mean([[a @ b for a in view for b in view] for view in unit[:, 1:]]))
        cls.append(np.mean([[a @ b for a in unit[:, 0]] for b in unit[:, 0]]))
    return float(np.mean(patches)), float(np.mean(cls))


def test_spread_and_quiet_add_the_mean_cosines_of_the_middle_blocks(pool):
    trainee = Trainer(MINUTE_RUN, pool).trainee
    batch = replace(make_batch(pool, MINUTE_RUN.view, 4, generator("spread"), dropout=False), waiting=0)
    with torch.inference_mode():
        patches, cls = mean_cosines_in_the_middle(trainee, batch.images)
        plain, spread, quiet = (float(trainee.loss(batch, **w)[0]) for w in ({}, {"spread": 0.5}, {"quiet": 20.0}))
    assert spread - plain == pytest.approx(0.5 * patches, rel=0.01)
    assert quiet - plain == pytest.approx(20 * (1 - cls), rel=0.05)


def test_spread_makes_patches_of_a_view_differ_and_quiet_makes_cls_agree(pool):
    images = make_batch(pool, MINUTE_RUN.view, 4, generator("spread"), dropout=False).images
    found = []
    for weight in (0.0, 1.0):
        trainer = Trainer(replace(MINUTE_RUN, views=16 * 12, spread=weight, quiet=weight), pool)
        for _ in range(12):
            trainer.train_step()
        with torch.inference_mode():
            found.append(mean_cosines_in_the_middle(trainer.trainee, images))
    assert found[1][0] < found[0][0] - 0.1
    assert found[1][1] > found[0][1]


def test_fast_tokens_are_those_of_the_standard_tokenizer():
    standard = open_clip.get_tokenizer(register_tiny())
    tokens = CaptionTokens(standard)
    for i in range(200):
        caption = scene("train", i, size=(16, 16)).caption
        assert tokens.full(caption) == [i for i in standard([caption])[0].tolist() if i], caption


@pytest.mark.parametrize(("local", "dropout"), [(0.0, False), (1.0, True)])
def test_captions_of_views_name_only_what_the_view_shows(pool, local, dropout):
    # Images whose grey value is their class tell, from the pixels of a view, what is visible in it.
    coded = copy.copy(pool)
    coded.images = np.repeat(10 * (1 + pool.masks[..., None]), 3, axis=3).astype(np.uint8)
    named_in_all = 0
    for number in range(4):
        batch = make_batch(coded, ViewRecipe(local=local), 48, generator("coded", number), dropout=dropout)
        grey = batch.images[:, 0] * STD[0] * 255 + MEAN[0] * 255
        patches = grey.unfold(1, 8, 8).unfold(2, 8, 8).flatten(3).flatten(1, 2)  # (B, 64, 64)
        for row, caption in enumerate(batch.captions):
            shown = patches[row] if batch.keep is None else patches[row, batch.keep[row]]
            for label in (*range(len(THINGS)), CLASSES.index("lava"), CLASSES.index("snow")):
                if any(f" {word} " in f" {caption.replace(',', '').strip('.')} " for word in names(label)):
                    named_in_all += 1
                    assert ((shown - 10 * (1 + label)).abs() < 1).float().mean() > 0.005, caption
    assert named_in_all > 50


def test_local_views_show_one_block_of_patches(pool):
    batch = make_batch(pool, ViewRecipe(local=1.0, blocks=((3, 2),)), 16, generator("block"), dropout=True)
    assert batch.keep is not None
    rows, columns = batch.keep // 8, batch.keep % 8
    assert batch.keep.shape == (16, 6)
    assert (rows.amax(1) - rows.amin(1)).tolist() == [2] * 16
    assert (columns.amax(1) - columns.amin(1)).tolist() == [1] * 16


def test_views_that_show_the_same_are_not_negatives_of_each_other(pool):
    batch = make_batch(pool, ViewRecipe(), 64, generator("same"), dropout=False)
    assert torch.equal(batch.same, batch.same.T)
    assert not batch.same.diagonal().any()
    trainee = Trainer(Recipe(pool=256), pool).trainee.eval()
    with torch.no_grad():
        everything_same = torch.ones(64, 64, dtype=torch.bool).fill_diagonal_(False)
        assert trainee.loss(replace(batch, same=everything_same))[0] < 1e-3 < trainee.loss(batch)[0]


def test_orthogonalised_matrices_have_singular_values_near_one():
    matrices = torch.randn(3, 40, 24, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert 0.6 < values.min() < values.max() < 1.3


def test_muon_treats_a_fused_projection_as_three_matrices():
    generator_ = torch.Generator().manual_seed(0)
    gradient = torch.randn(36, 12, generator=generator_)
    fused, parts = torch.zeros(36, 12, requires_grad=True), [torch.zeros(12, 12, requires_grad=True) for _ in range(3)]
    fused.grad = gradient.clone()
    for part, piece in zip(parts, gradient.chunk(3), strict=True):
        part.grad = piece.clone()
    Muon([("attn.in_proj_weight", fused)], lr=0.1).step()
    Muon([(f"part{i}", part) for i, part in enumerate(parts)], lr=0.1).step()
    assert torch.allclose(fused, torch.cat(parts), atol=1e-6)


def test_the_step_size_warms_up_stays_and_falls_to_zero():
    recipe = Recipe(views=128_000, warmup=0.1, decay=0.5)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100] == rates[400] == 1
    assert rates[750] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] < 0.01


@pytest.mark.parametrize(
    ("change", "named"), [({"views": 0}, "views 0"), ({"seed": -1}, "seed -1"), ({"batch": 0}, "batch 0")]
)
def test_an_impossible_recipe_is_refused(change, named):
    with pytest.raises(InputError, match=named):
        replace(QUICK, **change)


def test_runs_are_not_overwritten_or_mixed(uninterrupted, tmp_path):
    with pytest.raises(InputError, match="holds a training run"):
        run_training(MINUTE_RUN, uninterrupted)
    with pytest.raises(InputError, match="another recipe"):
        run_training(replace(MINUTE_RUN, seed=5), uninterrupted, resume=True)
    with pytest.raises(InputError, match="no training run to resume"):
        run_training(MINUTE_RUN, tmp_path, resume=True)
    with pytest.raises(InputError, match="threads 3"):
        run_training(MINUTE_RUN, tmp_path, threads=3)


def test_the_command_reports_bad_input_in_one_line(tmp_path, capsys):
    assert main(["train-tiny", "--resume", "--out", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_shipped_weights_are_small_and_described_by_their_record():
    record = json.loads(tiny.RECORD.read_text())
    assert record["weights"] == {"sha256": file_digest(tiny.WEIGHTS), "bytes": tiny.WEIGHTS.stat().st_size}
    assert tiny.WEIGHTS.stat().st_size <= 12_000_000
    with safe_open(tiny.WEIGHTS, "pt") as file:
        assert file.metadata()["seed"] == str(record["training"]["recipe"]["seed"])
    with open(tiny.CURVE, newline="") as file:
        assert int(list(csv.DictReader(file))[-1]["views"]) == record["training"]["views"]


def test_shipped_weights_name_single_objects(shipped):
    assert examine.naming(shipped, "test-11", 9) >= 95


def test_shipped_weights_fail_as_plain_clip_and_are_repaired_by_naclip(shipped):
    methods = {name: create_method(name) for name in ("clip", "naclip")}
    clip, naclip = examine.dense_counts(shipped, methods, "test-11", 40)
    assert compare_bootstrap(clip, naclip).mean.low[0] > 10
    assert examine.summarise(clip)["miou"] < 0.5 * examine.summarise(naclip)["miou"]


def test_outliers_are_measured_for_every_block(shipped):
    rows = examine.outliers(shipped, "test-11", 4)
    assert [row["block"] for row in rows] == list(range(1, shipped.depth + 1))
    assert all(row["norm_max_over_median"] >= 1 and row["column_max"] >= 1 for row in rows)
