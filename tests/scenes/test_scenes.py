"""The `scenes` generator: reproducible, exact, and captions that say only what is there."""

import re
from typing import Any

import numpy as np
import open_clip
import pytest

from ovss.errors import InputError
from ovss.scenes.captions import MOST_THINGS, SYNONYMS, TEMPLATES, describe, known_words, names
from ovss.scenes.objects import COLOURS, HELD_OUT_COLOURS, HELD_OUT_NIGHT, THINGS, VARIANTS_OF
from ovss.scenes.scenes import CLASSES, SIZES, VARIANTS, paint_thing, scene, single
from ovss.scenes.seeding import generator
from ovss.scenes.textures import STUFF, bank_texture, draw_texture
from ovss.vocabulary import load_vocabulary
from ovss.vocabulary.tables import list_variants

SMALL = (96, 96)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_scene_is_the_same_whenever_it_is_drawn(variant):
    first = scene("test", 3, variant)
    scene("test", 4, variant)
    bank_texture.cache_clear()
    np.random.seed(1)
    again = scene("test", 3, variant)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert (first.caption, first.layout) == (again.caption, again.layout)


def test_scenes_do_not_change_from_release_to_release():
    drawn = [scene("test", i) for i in range(4)]
    labels = [sorted(np.unique(s.mask).tolist()) for s in drawn]
    means = [np.round(s.image.mean((0, 1))).astype(int).tolist() for s in drawn]
    assert labels == PINNED_LABELS
    assert np.abs(np.array(means) - PINNED_MEANS).max() <= 1
    assert [s.caption for s in drawn] == PINNED_CAPTIONS


def test_splits_seeds_and_indices_give_different_scenes():
    pictures = [
        scene(*key, size=SMALL).image for key in (("train", 0), ("val", 0), ("test", 0), ("test-7", 0), ("test", 1))
    ]
    for i, a in enumerate(pictures):
        for b in pictures[i + 1 :]:
            assert np.abs(a.astype(int) - b).mean() > 5


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_and_masks_have_the_promised_size_and_type(variant):
    width, height = SIZES[variant]
    drawn = scene("val", 0, variant)
    assert drawn.image.shape == (height, width, 3)
    assert drawn.mask.shape == (height, width)
    assert drawn.image.dtype == drawn.mask.dtype == np.uint8


def test_masks_hold_exactly_the_classes_of_the_layout():
    for i in range(60):
        drawn = scene("val", i, size=SMALL)
        present = set(np.unique(drawn.mask).tolist())
        things = {thing.label for thing in drawn.layout.things}
        assert present <= things | set(drawn.layout.stuff)
        assert things <= present


@pytest.mark.parametrize("thing", THINGS)
def test_a_thing_hides_the_ground_exactly_where_its_mask_says(thing):
    placed = single(thing, 0).layout.things[0]
    mask = np.full((96, 96), 255, np.uint8)
    black, white = np.zeros((3, 96, 96), np.float32), np.ones((3, 96, 96), np.float32)
    paint_thing(black, mask.copy(), placed, generator("paint"))
    paint_thing(white, mask, placed, generator("paint"))
    ground_shows = (white - black).mean(0)
    assert ((ground_shows < 0.5) == (mask == placed.label)).all()
    assert 0.05 < (mask == placed.label).mean() < 0.7


def test_masks_agree_between_sizes():
    for i in range(10):
        large, small = scene("val", i).mask[::2, ::2], scene("val", i, size=SMALL).mask
        assert (large == small).mean() > 0.93


def test_objects_variant_shows_the_same_images_with_stuff_as_background():
    for i in range(10):
        plain, objects = scene("val", i), scene("val", i, "scenes-objects")
        assert np.array_equal(plain.image, objects.image)
        assert np.array_equal(objects.mask, np.where(plain.mask < len(THINGS), plain.mask + 1, 0))


def test_large_scenes_hold_more_and_smaller_objects():
    plain, large = ([scene("val", i, v).layout.things for i in range(60)] for v in ("scenes", "scenes-large"))
    assert np.mean([len(t) for t in large]) > np.mean([len(t) for t in plain]) + 0.5
    radius = [np.mean([thing.radius for things in group for thing in things]) for group in (plain, large)]
    assert radius[1] < 0.85 * radius[0]


def test_every_class_occurs_often():
    counts = np.zeros(len(CLASSES), int)
    for i in range(200):
        counts[np.unique(scene("val", i, size=(32, 32)).mask)] += 1
    assert counts.min() >= 8


def test_every_texture_can_be_distinguished_from_every_other_by_its_colours():
    means = [np.mean([bank_texture("scenes", n, i, 48).mean((1, 2)) for i in range(6)], 0) for n in STUFF]
    spread = [np.mean([bank_texture("scenes", n, i, 48).std((1, 2)) for i in range(6)], 0) for n in STUFF]
    looks = np.concatenate([means, spread], 1)
    distance = np.abs(looks[:, None] - looks[None]).sum(-1) + 1e6 * np.eye(len(STUFF))
    assert distance.min() > 25


def test_an_unknown_texture_is_named_in_the_error():
    with pytest.raises(ValueError, match="gras"):
        draw_texture("gras", generator(0), 16)


def test_no_split_contains_a_held_out_combination():
    seen_colours, seen_night = set(), set()
    for split in ("train", "val", "test", "test-7"):
        for variant in ("scenes", "scenes-shifted"):
            for i in range(150):
                layout = scene(split, i, variant, size=(16, 16)).layout
                seen_colours |= {(THINGS[t.label], t.colour) for t in layout.things if t.colour}
                seen_night |= {THINGS[t.label] for t in layout.things if layout.night}
    every = {(thing, colour) for thing, colours in VARIANTS_OF.items() for colour in colours}
    assert seen_colours == every - HELD_OUT_COLOURS
    assert seen_night == set(THINGS) - HELD_OUT_NIGHT


def test_every_part_of_a_held_out_combination_occurs_in_training():
    allowed = {(t, c) for t, colours in VARIANTS_OF.items() for c in colours} - HELD_OUT_COLOURS
    for thing, colour in HELD_OUT_COLOURS:
        assert sum(t == thing for t, _ in allowed) >= 2
        assert sum(c == colour for _, c in allowed) >= 2


def _said(words: tuple[str, ...], caption: str) -> bool:
    return any(re.search(rf"\b{word}\b", caption) for word in words)


def test_captions_name_something_and_nothing_that_is_not_there():
    in_templates = " ".join(TEMPLATES)
    for i in range(300):
        drawn = scene("train", i, size=(16, 16))
        layout = drawn.layout
        present = {t.label for t in layout.things} | set(layout.stuff)
        named = {c for c in range(len(CLASSES)) if _said(names(c), drawn.caption) and not _said(names(c), in_templates)}
        assert named, drawn.caption
        assert named <= present, drawn.caption
        assert ("at night" not in drawn.caption) or layout.night
        assert ("by day" not in drawn.caption) or not layout.night


def test_captions_give_a_thing_no_colour_but_its_own():
    for i in range(300):
        drawn = scene("train", i, size=(16, 16))
        own = {t.colour for t in drawn.layout.things}
        assert {c for c in COLOURS if re.search(rf"\b{c}\b", drawn.caption)} <= own, drawn.caption


def test_attributes_and_synonyms_occur_in_captions():
    text = " ".join(scene("train", i, size=(16, 16)).caption for i in range(500))
    for word in ("at night", "by day", "ladybug", "ring buoy", "toadstool", "rocks", "beach", *COLOURS):
        assert word in text, word


def test_captions_use_the_standard_templates():
    rng = generator("templates")
    used = {describe([(2, None)], [], False, rng, name_stuff=0) for _ in range(4000)}
    assert sum(template.format("heart") in used for template in TEMPLATES) >= 75


def test_known_words_cover_every_caption_and_class():
    words = known_words()
    for i in range(500):
        caption = scene("train", i, size=(16, 16)).caption
        assert set(re.findall(r"[a-z]+", caption)) <= words, caption
    assert {part for c in range(len(CLASSES)) for name in names(c) for part in name.split()} <= words
    assert "helicopter" not in words


def test_the_longest_caption_fits_the_context():
    tokenizer: Any = open_clip.get_tokenizer("ViT-B-32")
    rng = generator("long")
    things = [(THINGS.index(t), VARIANTS_OF[t][1]) for t in ("ladybird", "lifebuoy", "mushroom", "flower")]
    stuff = [STUFF.index("brick"), STUFF.index("wood")]
    captions = [describe(things, stuff, True, rng, name_thing=1, name_stuff=1) for _ in range(3000)]
    assert max(len(tokenizer.encode(c)) + 2 for c in captions) <= 32
    assert MOST_THINGS == 3


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: scene("test", 0, "scenes-objekts"), "scenes-objects"),
        (lambda: scene("evaluation", 0), "evaluation"),
        (lambda: scene("test", -1), "-1"),
        (lambda: single("ladybirds", 0), "ladybird"),
        (lambda: single("house", 0, colour="red"), "house"),
    ],
)
def test_bad_requests_are_answered_in_one_line(call, named):
    with pytest.raises(InputError, match=named) as caught:
        call()
    assert "\n" not in str(caught.value)


PINNED_LABELS = [[12], [1, 6, 7, 11, 20, 21], [15], [6, 15, 20]]
PINNED_MEANS = [[70, 135, 40], [147, 139, 111], [133, 75, 63], [197, 149, 128]]
PINNED_CAPTIONS = [
    "grass",
    "a flag, a red lifebuoy and a watermelon in front of lava and tiles",
    "the cartoon brick wall.",
    "a star and tiles",
]


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_class_lists_of_generated_images_are_the_generators_own_names(name: str) -> None:
    def words(names: tuple[str, ...], synonyms: bool) -> list[tuple[str, ...]]:
        return [(each, *(SYNONYMS.get(each, ()) if synonyms else ())) for each in names]

    for variant in list_variants(name):
        synonyms = variant not in ("plain", "tcl")
        vocabulary = load_vocabulary(name, variant)
        if VARIANTS[name].things_only:
            background = [word for group in words(STUFF, synonyms) for word in group] if variant != "tcl" else []
            assert vocabulary.words == (tuple(background), *words(THINGS, synonyms)), variant
        else:
            assert vocabulary.words == tuple(words(THINGS + STUFF, synonyms)), variant
