"""The drawn breeds of the embedded sample: numbers that ``drawing.py`` reads. None of them is a real breed."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

WHITE, CREAM, GOLD, RUST, TAN, BROWN = (
    (244, 241, 234),
    (233, 214, 176),
    (214, 158, 82),
    (184, 96, 48),
    (196, 146, 96),
    (98, 62, 40),
)
SLATE, GREY, BLACK = (112, 120, 134), (158, 156, 152), (38, 36, 40)


@dataclass(frozen=True)
class Breed:
    """One drawn breed. Lengths are in units of a middling dog's body.

    Attributes:
        name: breed name; begins with ``drawn_``, so that nobody takes it for a real one.
        length: of the trunk.
        legs: their length.
        depth: of the chest.
        tuck: how far the waist is drawn in, 0 to 1.
        head: its radius.
        snout: its length.
        ears: ``floppy``, ``long``, ``pointed`` or ``button``.
        tail: ``straight``, ``up``, ``curl``, ``docked``, ``plume`` or ``pom``.
        coat: ``plain``, ``spots``, ``brindle``, ``saddle``, ``patches``, ``bib`` or ``points``.
        texture: ``smooth``, ``curly``, ``wiry`` or ``shaggy``.
        colours: ground colour and one or two more that the coat's pattern uses.
        fur: how ragged the outline is, 0 to 1.
    """

    name: str
    length: float
    legs: float
    depth: float
    tuck: float
    head: float
    snout: float
    ears: str
    tail: str
    coat: str
    texture: str
    colours: tuple[Colour, ...]
    fur: float = 0.1


BREEDS: tuple[Breed, ...] = (
    Breed("drawn_bearded_terrier", 0.78, 0.44, 0.40, 0.15, 0.20, 0.20, "button", "up", "plain", "wiry", (BLACK,), 0.5),
    Breed(
        "drawn_brindle_bulldog",
        0.90,
        0.34,
        0.48,
        0.25,
        0.25,
        0.09,
        "button",
        "docked",
        "brindle",
        "smooth",
        (TAN, BROWN),
    ),
    Breed("drawn_curly_waterdog", 0.88, 0.48, 0.40, 0.20, 0.19, 0.17, "floppy", "pom", "plain", "curly", (BROWN,), 0.7),
    Breed(
        "drawn_fox_spitz", 0.80, 0.40, 0.42, 0.15, 0.19, 0.16, "pointed", "curl", "bib", "shaggy", (RUST, WHITE), 0.6
    ),
    Breed(
        "drawn_golden_setter", 1.02, 0.52, 0.40, 0.35, 0.19, 0.20, "floppy", "plume", "plain", "shaggy", (GOLD,), 0.5
    ),
    Breed(
        "drawn_masked_sleddog",
        0.95,
        0.48,
        0.42,
        0.25,
        0.20,
        0.17,
        "pointed",
        "curl",
        "bib",
        "smooth",
        (SLATE, WHITE),
        0.3,
    ),
    Breed(
        "drawn_patched_beagle",
        0.90,
        0.40,
        0.40,
        0.25,
        0.20,
        0.17,
        "floppy",
        "up",
        "patches",
        "smooth",
        (WHITE, TAN, BLACK),
    ),
    Breed(
        "drawn_saddled_shepherd",
        1.02,
        0.52,
        0.42,
        0.30,
        0.20,
        0.21,
        "pointed",
        "straight",
        "saddle",
        "smooth",
        (TAN, BLACK),
        0.25,
    ),
    Breed(
        "drawn_sausage_hound", 1.30, 0.20, 0.34, 0.15, 0.18, 0.22, "long", "straight", "points", "smooth", (RUST, BROWN)
    ),
    Breed(
        "drawn_shaggy_sheepdog",
        0.95,
        0.42,
        0.52,
        0.05,
        0.25,
        0.13,
        "floppy",
        "docked",
        "saddle",
        "shaggy",
        (WHITE, GREY),
        1.0,
    ),
    Breed(
        "drawn_slender_courser", 1.00, 0.66, 0.38, 0.75, 0.155, 0.23, "button", "straight", "plain", "smooth", (SLATE,)
    ),
    Breed(
        "drawn_spotted_hound",
        0.98,
        0.54,
        0.40,
        0.40,
        0.185,
        0.19,
        "floppy",
        "straight",
        "spots",
        "smooth",
        (WHITE, BLACK),
    ),
)
