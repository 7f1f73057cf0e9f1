"""Backgrounds and light for the drawn dogs: nuisance that tells nothing about the breed."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from competition.data.sample.drawing import noise

_PLACES: tuple[tuple[str, tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]], ...] = (
    # name, far colour at the top, far colour at the horizon, ground
    ("meadow", (120, 170, 225), (205, 225, 240), (104, 150, 70)),
    ("beach", (96, 168, 214), (214, 230, 232), (222, 200, 150)),
    ("snow", (150, 172, 205), (226, 232, 240), (236, 240, 246)),
    ("evening", (92, 78, 130), (240, 168, 120), (96, 92, 70)),
    ("room", (196, 178, 158), (214, 198, 178), (150, 108, 76)),
    ("wall", (110, 134, 142), (132, 152, 156), (120, 116, 112)),
)


def draw_scene(rng: np.random.Generator, height: int, width: int, horizon: float) -> np.ndarray:
    """A place without a dog, float32 (h, w, 3) in [0, 255].

    Args:
        rng: source of chance.
        height: pixels.
        width: pixels.
        horizon: height of the ground's far edge, as a share of the picture from the top.
    """
    name, top, low, ground = _PLACES[int(rng.integers(len(_PLACES)))]
    cast = rng.normal(1.0, 0.06, 3).astype(np.float32)
    edge = round(horizon * height)
    t = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sky = _colour(top) + (_colour(low) - _colour(top)) * np.clip(t / max(horizon, 0.05), 0, 1)
    canvas = np.ascontiguousarray(np.broadcast_to(sky * cast, (height, width, 3)), dtype=np.float32)
    _distance(canvas, rng, name, edge)
    floor = _colour(ground) * rng.normal(1.0, 0.06, 3).astype(np.float32)
    grain = 0.75 * noise(rng, (height, width), (height / 3, width / 9)) + 0.5 * noise(rng, (height, width), (6, 5))
    canvas[edge:] = (floor * (0.55 + 0.72 * grain[..., None]))[edge:]
    return np.clip(canvas, 0, 255)


def _colour(rgb: tuple[int, int, int]) -> np.ndarray:
    return np.array(rgb, dtype=np.float32)


def _distance(canvas: np.ndarray, rng: np.random.Generator, name: str, edge: int) -> None:
    """What stands between sky and ground: trees, hills, a window; drawn in place."""
    width = canvas.shape[1]
    if name in ("meadow", "evening", "snow"):
        for _ in range(int(rng.integers(1, 5))):
            x, radius = int(rng.integers(0, width)), int(rng.integers(width // 14, width // 6))
            green = [float(c) for c in rng.normal((70, 105, 62), 16)]
            cv2.rectangle(canvas, (x - radius // 8, edge - radius), (x + radius // 8, edge), (84.0, 62.0, 46.0), -1)
            cv2.circle(canvas, (x, edge - radius - radius // 3), radius, green, -1, cv2.LINE_AA)
    if name == "beach":
        canvas[max(edge - canvas.shape[0] // 9, 0) : edge] = (70, 130, 165)
    if name in ("room", "wall"):
        for _ in range(int(rng.integers(0, 3))):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, max(edge // 2, 1)))
            size = int(rng.integers(width // 9, width // 4))
            cv2.rectangle(canvas, (x, y), (x + size, y + size), [float(c) for c in rng.uniform(70, 235, 3)], -1)
            cv2.rectangle(canvas, (x, y), (x + size, y + size), (90.0, 74.0, 60.0), 2)
        canvas[max(edge - 5, 0) : edge] *= 0.7


def draw_foreground(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grass, a ball or a stone in front of the dog, drawn in place.

    Returns:
        bool (h, w): where the foreground hides what is behind it.
    """
    before = canvas.copy()
    kinds: tuple[Callable[[np.ndarray, np.random.Generator], None], ...] = (_tufts, _ball, _stone)
    for draw in kinds:
        if rng.random() < 0.3:
            draw(canvas, rng)
    return np.abs(canvas - before).sum(axis=2) > 1


def _tufts(canvas: np.ndarray, rng: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    middle = rng.uniform(0, width)
    for _ in range(int(rng.integers(8, 26))):
        x, y = rng.normal(middle, width / 14), rng.uniform(0.88, 1.0) * height
        tip = (round(x + rng.normal(0, 7)), round(y - rng.uniform(0.04, 0.13) * height))
        cv2.line(canvas, (round(x), round(y)), tip, [float(c) for c in rng.normal((78, 128, 58), 18)], 2, cv2.LINE_AA)


def _ball(canvas: np.ndarray, rng: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    centre = (int(rng.integers(0, width)), round(rng.uniform(0.86, 0.97) * height))
    radius = int(rng.integers(height // 26, height // 13))
    cv2.circle(canvas, centre, radius, [float(c) for c in rng.uniform(40, 240, 3)], -1, cv2.LINE_AA)
    cv2.circle(
        canvas, (centre[0] - radius // 3, centre[1] - radius // 3), max(radius // 4, 1), (245.0, 245.0, 245.0), -1
    )


def _stone(canvas: np.ndarray, rng: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    centre = (int(rng.integers(0, width)), round(rng.uniform(0.93, 1.02) * height))
    axes = (int(rng.integers(width // 24, width // 9)), int(rng.integers(height // 24, height // 12)))
    cv2.ellipse(canvas, centre, axes, 0, 0, 360, [float(c) for c in rng.normal((120, 116, 110), 14)], -1, cv2.LINE_AA)


def lit(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, colour cast, vignette, a little blur and grain; uint8 of the same shape."""
    height, width = canvas.shape[:2]
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij"
    )
    slope = rng.normal(0, 0.10, 2).astype(np.float32)
    field = 1 + slope[0] * x + slope[1] * y - float(rng.uniform(0, 0.16)) * (x**2 + y**2)
    gamma = float(np.exp(rng.normal(0, 0.16)))
    cast = rng.normal(1, 0.04, 3).astype(np.float32) / 255
    shaded = 255 * np.clip(canvas * field[..., None] * cast, 0, 1) ** gamma
    if rng.random() < 0.4:
        shaded = cv2.GaussianBlur(shaded, (0, 0), float(rng.uniform(0.4, 0.9)))
    grain = rng.standard_normal(canvas.shape[:2], dtype=np.float32)[..., None] * float(rng.uniform(1, 5))
    return np.clip(shaded + grain, 0, 255).astype(np.uint8)
