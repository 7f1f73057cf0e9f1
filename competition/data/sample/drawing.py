"""Draws one dog: a coat painted through the outlines of its parts, with light, shade and ragged hair."""

from __future__ import annotations

import cv2
import numpy as np

from competition.data.sample.anatomy import Points, Pose, Skeleton, ellipse
from competition.data.sample.breeds import Breed

_SHIFT = 4  # fractional bits of cv2's polygon coordinates


def noise(rng: np.random.Generator, shape: tuple[int, ...], cells: tuple[float, float]) -> np.ndarray:
    """Smooth noise in [0, 1], float32 (h, w), with about that many cells down and across."""
    grid = rng.random((max(2, round(cells[0])) + 1, max(2, round(cells[1])) + 1), dtype=np.float32)
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _rgb(colour: tuple[int, int, int]) -> np.ndarray:
    return np.array(colour, dtype=np.float32)


class Painter:
    """Paints parts on a canvas and keeps the animal's mask.

    Attributes:
        canvas: float32 (h, w, 3) in [0, 255].
        mask: float32 (h, w) in [0, 1], coverage by the animal.
    """

    def __init__(self, canvas: np.ndarray, breed: Breed, pose: Pose, rng: np.random.Generator) -> None:
        self.canvas, self.breed, self.pose, self.rng = canvas, breed, pose, rng
        self.mask: np.ndarray = np.zeros(canvas.shape[:2], dtype=np.float32)
        sine, cosine = np.sin(pose.tilt), np.cos(pose.tilt)
        self.matrix = (
            pose.scale * np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([-1 if pose.mirrored else 1, 1])
        )

    def paint(self) -> None:
        """Draw the whole dog."""
        skeleton = Skeleton(self.breed, self.pose)
        coat = self._coat(skeleton)
        self._shadow(skeleton)
        for part in skeleton.parts():
            self._fill(self._frayed(part.points), coat * part.shade, edge=0.80)
        for part in skeleton.features(self.rng):
            self._fill(part.points, np.broadcast_to(_rgb(part.colour or (0, 0, 0)), coat.shape), edge=1.0)

    def _placed(self, points: Points) -> Points:
        return points @ self.matrix.T + (self.pose.x, self.pose.ground)

    def _frayed(self, points: Points) -> Points:
        """Make an outline as ragged as the coat."""
        amount = self.breed.fur * 0.022
        steps = np.linspace(0, 1, 4, endpoint=False)[None, :, None]
        dense = (points[:, None] + steps * (np.roll(points, -1, axis=0) - points)[:, None]).reshape(-1, 2)
        away = dense - dense.mean(axis=0)
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
        return dense + away * self.rng.normal(0.3, 1.0, (len(dense), 1)) * amount

    def _fill(self, points: Points, colour: np.ndarray, edge: float) -> None:
        """Blend a colour field (h, w, 3) through an outline; its rim is darkened by ``edge``."""
        cover = np.zeros(self.mask.shape, dtype=np.uint8)
        fixed = np.round(self._placed(points) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(cover, [fixed], 255, cv2.LINE_AA, _SHIFT)
        x, y, width, height = cv2.boundingRect(cover)
        if not width:
            return
        here = np.s_[y : y + height, x : x + width]
        alpha = cover[here].astype(np.float32) / 255
        inner = cv2.blur(alpha, (7, 7), borderType=cv2.BORDER_CONSTANT)
        shaded = colour[here] * (edge + (1 - edge) * np.clip(2 * inner - 1, 0, 1))[..., None]
        self.canvas[here] += (shaded - self.canvas[here]) * alpha[..., None]
        self.mask[here] = np.maximum(self.mask[here], alpha)

    def _shadow(self, skeleton: Skeleton) -> None:
        """A soft dark ellipse on the ground; it is no part of the animal."""
        cover = np.zeros(self.mask.shape, dtype=np.uint8)
        points = self._placed(ellipse(0.05, 0.0, skeleton.half * 1.15, 0.075))
        cv2.fillPoly(cover, [np.round(points).astype(np.int32)], 255)
        soft = cv2.GaussianBlur(cover, (0, 0), 4).astype(np.float32) / 255
        self.canvas *= 1 - 0.38 * soft[..., None]

    def _coat(self, skeleton: Skeleton) -> np.ndarray:
        """The coat's colour at every pixel of the canvas, float32 (h, w, 3), following the dog's own coordinates."""
        height, width = self.mask.shape
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        offset = np.stack([x - self.pose.x, y - self.pose.ground], axis=-1)
        own = offset @ np.linalg.inv(self.matrix).T.astype(np.float32)
        u, v = own[..., 0], own[..., 1]
        individual = (self.rng.normal(1.0, 0.07, 3) * self.rng.normal(1.0, 0.06)).astype(np.float32)
        colours = [np.clip(_rgb(colour) * individual, 8, 250) for colour in self.breed.colours]
        pattern = self._pattern(u, v, skeleton, colours)
        light = 1.06 - 0.30 * np.clip((v - skeleton.top) / max(-skeleton.top, 0.1), -0.3, 1)
        return pattern * (light * self._texture(u, v))[..., None]

    def _cells(self, down: float, across: float | None = None) -> tuple[float, float]:
        """Noise cells over the whole canvas for so many in one unit of the dog."""
        height, width = self.mask.shape[:2]
        return down * height / self.pose.scale, (across or down) * width / self.pose.scale

    def _pattern(self, u: np.ndarray, v: np.ndarray, skeleton: Skeleton, colours: list[np.ndarray]) -> np.ndarray:
        shape, cells = self.mask.shape[:2], self._cells
        ragged = noise(self.rng, shape, cells(7)) - 0.5
        near_head = u - skeleton.half
        layers = {
            "plain": lambda: [],
            "spots": lambda: [(noise(self.rng, shape, cells(9)) > 0.69, 1)],
            "brindle": lambda: [(np.sin(52 * u + 14 * v + 16 * ragged) > 0.25, 1)],
            "saddle": lambda: [((v < skeleton.top + (0.62 + 0.5 * ragged) * self.breed.depth) & (near_head < 0.02), 1)],
            "patches": lambda: [
                (noise(self.rng, shape, cells(3.2)) + 0.25 * ragged > 0.58, 2),
                ((near_head > 0.02) & (v < skeleton.skull[1] + 0.1), 1),
            ],
            "bib": lambda: [
                (v > skeleton.top + (0.70 + 0.4 * ragged) * self.breed.depth, 1),
                ((near_head > 0.10) & (v > skeleton.skull[1] + 0.02), 1),
            ],
            "points": lambda: [((v > -0.5 * self.breed.legs) | (near_head > 0.33), 1)],
        }  # fmt: skip
        field = np.broadcast_to(colours[0], (*shape, 3)).copy()
        for where, index in layers[self.breed.coat]():
            soft = cv2.blur(where.astype(np.float32), (3, 3))[..., None]
            field += (colours[index] - field) * soft
        return field

    def _texture(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Brightness of the hair, float32 (h, w) around 1."""
        shape, cells = self.mask.shape[:2], self._cells
        if self.breed.texture == "curly":
            bend = 5 * noise(self.rng, shape, cells(5))
            return 1 + 0.30 * np.sin(62 * u + bend) * np.sin(62 * v + bend)
        scale = {"smooth": (10, 10), "wiry": (38, 38), "shaggy": (9, 44)}[self.breed.texture]
        strength = {"smooth": 0.12, "wiry": 0.85, "shaggy": 0.48}[self.breed.texture]
        return 1 + strength * (noise(self.rng, shape, cells(*scale)) - 0.5)
