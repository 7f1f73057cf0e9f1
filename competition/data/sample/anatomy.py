"""Where the parts of a drawn dog are: outlines in the dog's own coordinates, for a breed and a pose.

Dog coordinates: x to the right (the head is there), y down, the ground at y = 0, a middling trunk 1 long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from competition.data.sample.breeds import Breed

Points = np.ndarray  # float (k, 2)


@dataclass(frozen=True)
class Pose:
    """How one dog stands on the canvas; everything here is a nuisance, nothing tells the breed.

    Attributes:
        scale: pixels per unit.
        x: canvas position of the trunk's middle, pixels.
        ground: canvas height of the ground, pixels.
        mirrored: looks to the left.
        tilt: of the whole dog, radians.
        gait: swing of the legs, radians.
        sit: how far the rump is lowered, 0 or about 1.
        head: angle of the head, radians; up is negative.
        wag: of the tail, radians.
    """

    scale: float
    x: float
    ground: float
    mirrored: bool
    tilt: float
    gait: float
    sit: float
    head: float
    wag: float


@dataclass(frozen=True)
class Part:
    """A filled outline: its points, a brightness factor, whether the coat's texture frays it, its own colour if any."""

    points: Points
    shade: float = 1.0
    frays: bool = True
    colour: tuple[int, int, int] | None = None


def _smooth(points: list[tuple[float, float]], rounds: int = 3) -> Points:
    """Cut the corners of a closed polygon (Chaikin 1974)."""
    curve = np.array(points, dtype=np.float64)
    for _ in range(rounds):
        following = np.roll(curve, -1, axis=0)
        curve = np.stack([0.75 * curve + 0.25 * following, 0.25 * curve + 0.75 * following], axis=1).reshape(-1, 2)
    return curve


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Points:
    """Outline of an ellipse around (x, y), turned by ``angle`` in radians."""
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    return _moved(_turned(np.stack([rx * np.cos(turn), ry * np.sin(turn)], axis=1), angle), x, y)


def _moved(points: Points, x: float, y: float) -> Points:
    return points + np.array([x, y])


def _turned(points: Points, angle: float) -> Points:
    sine, cosine = np.sin(angle), np.cos(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def _near(point: np.ndarray, x: float = 0.0, y: float = 0.0) -> tuple[float, float]:
    return float(point[0]) + x, float(point[1]) + y


def _limb(line: list[tuple[float, float]], widths: list[float]) -> Points:
    """A tapered stroke along a line, as a closed outline with round ends."""
    centre = np.array(line, dtype=np.float64)
    t = np.linspace(0, len(line) - 1, 6 * len(line))
    centre = np.stack([np.interp(t, range(len(line)), centre[:, axis]) for axis in (0, 1)], axis=1)
    width = np.interp(t, range(len(line)), widths)[:, None] / 2
    direction = np.gradient(centre, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    normal = direction[:, ::-1] * (1, -1)
    start, end = centre[:1] - direction[:1] * width[:1] * 0.8, centre[-1:] + direction[-1:] * width[-1:] * 0.8
    return np.concatenate([start, centre + normal * width, end, (centre - normal * width)[::-1]])


class Skeleton:
    """Where the parts of a dog of this breed are in this pose, in dog coordinates."""

    def __init__(self, breed: Breed, pose: Pose) -> None:
        self.breed, self.pose = breed, pose
        self.half = breed.length / 2
        self.top = -(breed.legs + breed.depth)
        self.drop = pose.sit * 0.75 * breed.legs
        self.neck = np.array([self.half - 0.06, self.top + 0.10])
        reach = np.array([0.17 + 0.25 * breed.head, -0.20 - 0.55 * breed.head])
        self.skull = self.neck + _turned(reach[None], pose.head * 0.6)[0]

    def sunk(self, x: float) -> float:
        """How much lower a point of the trunk lies because the dog sits."""
        return self.drop * float(np.clip((self.half - 0.15 - x) / self.breed.length, 0, 1))

    def parts(self) -> list[Part]:
        """All parts, back to front."""
        return [
            self.tail(),
            *self.legs(far=True),
            self.trunk(),
            *self.legs(far=False),
            *self.head(),
        ]

    def trunk(self) -> Part:
        """Chest, waist and back."""
        breed, half, top = self.breed, self.half, self.top
        belly = top + breed.depth
        waist = belly - breed.tuck * 0.5 * breed.depth
        outline = [
            (half - 0.04, top - 0.02),
            (half + 0.07, top + 0.45 * breed.depth),
            (half - 0.04, belly + 0.01),
            (0.12, belly + 0.02),
            (-half * 0.45, waist),
            (-half * 0.8, waist - 0.02),
            (-half - 0.03, top + 0.55 * breed.depth),
            (-half - 0.02, top + 0.08),
            (-half * 0.6, top),
            (0.0, top + 0.03),
        ]
        return Part(_smooth([(x, y + self.sunk(x)) for x, y in outline]))

    def legs(self, far: bool) -> list[Part]:
        """Fore and hind leg of one side with their paws; the far side is darker and stands a little ahead."""
        breed, half = self.breed, self.half
        shade, offset = (0.72, 0.07) if far else (1.0, 0.0)
        swing = self.pose.gait * (-1 if far else 1) * breed.legs
        thick = 0.085 + 0.10 * breed.depth
        front = half - 0.13 + offset
        start = -(breed.legs + 0.35 * breed.depth)
        fore = _limb(
            [(front, start), (front + 0.4 * swing, -0.5 * breed.legs), (front + swing, -0.035)],
            [1.5 * thick, 0.85 * thick, 0.75 * thick],
        )
        paws = [ellipse(front + swing + 0.03, -0.03, 0.075, 0.042)]
        hind = -half + 0.10 + offset
        if self.pose.sit:
            height = -(self.top + 0.6 * breed.depth + self.sunk(hind))
            thigh = ellipse(hind + 0.05, -0.52 * height, 0.20, 0.58 * height, -0.25)
            paws.append(ellipse(hind + 0.20, -0.035, 0.11, 0.045))
        else:
            hock = (hind - 0.10 - 0.5 * swing, -0.42 * breed.legs)
            thigh = _limb(
                [(hind, start), (hind + 0.05, -0.8 * breed.legs), hock, (hind - 0.02 - swing, -0.035)],
                [2.2 * thick, 1.7 * thick, 0.8 * thick, 0.75 * thick],
            )
            paws.append(ellipse(hind + 0.02 - swing, -0.03, 0.075, 0.042))
        return [Part(outline, shade) for outline in (fore, thigh, *paws)]

    def tail(self) -> Part:
        """The tail, behind everything else."""
        x, y = -self.half + 0.01, self.top + 0.10 + self.sunk(-self.half)
        shapes = {
            "straight": ([(0, 0), (-0.16, 0.10), (-0.26, 0.27), (-0.36, 0.38)], [0.11, 0.085, 0.06, 0.03]),
            "up": ([(0, 0), (-0.07, -0.14), (-0.08, -0.28), (-0.03, -0.38)], [0.11, 0.09, 0.07, 0.04]),
            "curl": ([(0, 0.02), (-0.13, -0.12), (-0.05, -0.27), (0.10, -0.26), (0.13, -0.15)],
                     [0.14, 0.16, 0.17, 0.15, 0.08]),
            "docked": ([(0, 0), (-0.06, -0.03)], [0.12, 0.09]),
            "plume": ([(0, 0), (-0.18, 0.03), (-0.33, -0.04), (-0.46, -0.16)], [0.10, 0.19, 0.22, 0.06]),
            "pom": ([(0, 0), (-0.08, -0.14), (-0.12, -0.26), (-0.12, -0.30)], [0.07, 0.06, 0.20, 0.16]),
        }  # fmt: skip
        line, widths = shapes[self.breed.tail]
        return Part(_moved(_turned(_limb(line, widths), self.pose.wag), x, y), 0.92)

    def head(self) -> list[Part]:
        """Neck, skull, snout and ears; the far ear lies behind."""
        breed, (x, y), size = self.breed, self.skull, self.breed.head
        turn = self.pose.head
        neck = _limb([_near(self.neck, -0.06, 0.14), _near(self.neck), (x, y)], [1.9 * size, 1.45 * size, 1.15 * size])

        def placed(points: Points) -> Points:
            return _moved(_turned(points, turn), x, y)

        bridge, tip = 0.75 * size + 0.5 * breed.snout, 0.70 * size + breed.snout
        snout = _limb(
            [(0.25 * size, 0.22 * size), (bridge, 0.30 * size), (tip, 0.33 * size)],
            [1.15 * size, 0.78 * size, 0.55 * size],
        )
        ear = self.ear(size)
        return [
            Part(placed(_moved(ear, 0.30 * size, -0.04)), 0.62),
            Part(neck),
            Part(placed(ellipse(0, 0, size, 0.90 * size))),
            Part(placed(snout), 1.04),
            Part(placed(ear), 0.80),
        ]

    def ear(self, size: float) -> Points:
        """Outline of an ear around the skull's middle."""
        shapes = {
            "floppy": [(-0.15, -0.80), (-0.70, -0.55), (-0.95, 0.35), (-0.60, 0.95), (-0.20, 0.45)],
            "long": [(-0.10, -0.75), (-0.65, -0.50), (-0.90, 0.70), (-0.60, 1.55), (-0.15, 0.90)],
            "pointed": [(-0.75, -0.40), (-0.62, -1.20), (-0.50, -1.75), (-0.05, -1.05), (0.15, -0.70)],
            "button": [(-0.70, -0.65), (-0.35, -1.15), (0.10, -0.95), (0.20, -0.45), (-0.15, -0.40)],
        }
        rounds = 2 if self.breed.ears == "pointed" else 3
        return _smooth([(x * size, y * size) for x, y in shapes[self.breed.ears]], rounds)

    def features(self, rng: np.random.Generator) -> list[Part]:
        """Eye, nose, mouth, and now and then a tongue or a collar."""
        breed, size, turn = self.breed, self.breed.head, self.pose.head

        def placed(points: Points) -> Points:
            return _turned(points, turn) + tuple(self.skull)

        nose = (0.78 * size + breed.snout, 0.18 * size)
        found = [Part(placed(ellipse(*nose, 0.05, 0.042)), 1.0, False, (28, 24, 26))]
        if breed.fur < 1.0:  # the shaggiest has its eyes under the fringe
            iris = (96, 150, 190) if "masked" in breed.name else (44, 28, 20)
            eye = (0.38 * size, -0.22 * size)
            found += [
                Part(placed(ellipse(*eye, 0.042, 0.042)), 1.0, False, iris),
                Part(placed(ellipse(*eye, 0.022, 0.026)), 1.0, False, (16, 12, 12)),
                Part(placed(ellipse(eye[0] + 0.012, eye[1] - 0.014, 0.011, 0.011)), 1.0, False, (250, 250, 250)),
            ]
        mouth = _limb(
            [(0.62 * size + breed.snout, 0.52 * size), (0.45 * size + 0.4 * breed.snout, 0.60 * size)], [0.02, 0.02]
        )
        found.append(Part(placed(mouth), 1.0, False, (52, 34, 34)))
        if rng.random() < 0.35:
            tongue = ellipse(0.45 * size + 0.7 * breed.snout, 0.62 * size + 0.06, 0.04, 0.08, 0.2)
            found.insert(0, Part(placed(tongue), 1.0, False, (222, 110, 120)))
        if rng.random() < 0.5:
            colour = [(190, 40, 46), (40, 80, 170), (40, 130, 80), (230, 180, 40)][int(rng.integers(4))]
            middle = 0.62 * self.neck + 0.38 * self.skull
            across = _limb([_near(middle, -0.85 * size, -0.05), _near(middle, 0.62 * size, 0.16)], [0.055, 0.055])
            found.append(Part(across, 1.0, False, colour))
        return found
