"""The picture that activation maximisation paints: how numbers become an image, and how its gradient flows back.

Everything is NumPy, forwards and backwards by hand, so that the same ascent drives a network of any framework. The
image is ``sigmoid(colours(latent))``; the latent is the inverse Fourier transform of a scaled spectrum, in which ascent
spreads over all frequencies instead of piling up in the highest ones (Olah, Mordvintsev and Schubert, Feature
Visualization, Distill 2017).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Square root of the covariance of ImageNet's colours, as Lucid (tensorflow/lucid, optvis/param/color.py) measured it.
_COLOUR_ROOT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], dtype=np.float32)
_COLOURS = _COLOUR_ROOT / np.linalg.norm(_COLOUR_ROOT, axis=0).max()
_SMOOTH = 1e-6  # keeps the derivative of total variation finite where a picture is flat


class Spectrum:
    """Half of a Fourier spectrum, real and imaginary parts last: float32 (h, w // 2 + 1, c, 2).

    Every coefficient is divided by its frequency (to the power ``decay``), so that equal steps in the numbers give
    pictures with the spectrum of photos.
    """

    def __init__(self, shape: tuple[int, int, int], decay: float = 1.0) -> None:
        self.shape = shape
        height, width, _ = shape
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
        scale = np.maximum(frequency, 1.0 / max(height, width)) ** -decay
        # Lucid's normalisation: the latent's deviation does not depend on the size of the picture.
        self._scale = (scale * np.sqrt(height * width) / 4)[:, :, None]  # (h, w // 2 + 1, 1)
        twice = np.full((1, width // 2 + 1, 1), 2.0)
        twice[:, 0] = 1.0
        if width % 2 == 0:
            twice[:, -1] = 1.0
        self._adjoint = self._scale * twice / (height * width)

    def start(self, rng: np.random.Generator, deviation: float) -> np.ndarray:
        """Normal noise in every coefficient."""
        height, width, channels = self.shape
        return (deviation * rng.standard_normal((height, width // 2 + 1, channels, 2))).astype(np.float32)

    def latent(self, numbers: np.ndarray) -> np.ndarray:
        """Inverse transform of the scaled spectrum."""
        spectrum = (numbers[..., 0] + 1j * numbers[..., 1]) * self._scale
        return np.fft.irfft2(spectrum, s=self.shape[:2], axes=(0, 1)).astype(np.float32)

    def pull_back(self, gradient: np.ndarray) -> np.ndarray:
        """A coefficient stands for itself and its mirror image, so it counts twice; not so where it mirrors itself."""
        spectrum = np.fft.rfft2(gradient, axes=(0, 1)) * self._adjoint
        return np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)

    def numbers(self, latent: np.ndarray) -> np.ndarray:
        """Transform, unscaled."""
        spectrum = np.fft.rfft2(latent, axes=(0, 1)) / self._scale
        return np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)


def colour_matrix(channels: int, *, decorrelate: bool = True) -> np.ndarray:
    """Matrix (c, c) from latent to image channels: ImageNet's colour correlation for RGB, else the identity."""
    return _COLOURS if decorrelate and channels == 3 else np.eye(channels, dtype=np.float32)


def paint(latent: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The image, float32 (h, w, c) in (0, 1), of a latent picture."""
    mixed = latent @ colours.T
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * mixed), dtype=np.float32)  # a sigmoid that does not overflow


def unpaint(gradient: np.ndarray, image: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Gradient with respect to the latent of ``paint``, from the one with respect to its image."""
    return np.asarray((gradient * image * (1 - image)) @ colours, dtype=np.float32)


def total_variation(image: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean length of the local gradient of an image (h, w, c), and its derivative (Mahendran and Vedaldi, 2015).

    Differences reach one pixel down and right; beyond the border there is none.
    """
    down, right = np.zeros_like(image, dtype=np.float64), np.zeros_like(image, dtype=np.float64)
    down[:-1] = image[1:] - image[:-1]
    right[:, :-1] = image[:, 1:] - image[:, :-1]
    length = np.sqrt(down**2 + right**2 + _SMOOTH)
    down, right = down / length, right / length
    derivative = -down - right
    derivative[1:] += down[:-1]
    derivative[:, 1:] += right[:, :-1]
    return float(length.mean()), (derivative / image.size).astype(np.float32)


def resampling(size: int, out: int, start: float, span: float) -> np.ndarray:
    """Matrix (out, size) that samples ``span`` pixels from ``start`` on, linearly, at ``out`` places.

    Where it shrinks, every place averages the pixels it stands for (a triangle filter), so that no detail is invented;
    beyond the border the edge pixel is repeated. Its transpose is the adjoint.
    """
    step = span / out
    centres = start + (np.arange(out) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    first, last = int(np.floor(centres.min() - reach)), int(np.ceil(centres.max() + reach))
    places = np.arange(first, last + 1)
    weights = np.maximum(0.0, 1.0 - np.abs(centres[:, None] - places[None, :]) / reach)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((out, size))
    np.add.at(matrix.T, np.clip(places, 0, size - 1), weights.T)
    return matrix.astype(np.float32)


@lru_cache(maxsize=64)
def whole(size: int, out: int) -> np.ndarray:
    """The matrix that resizes ``size`` pixels to ``out``."""
    return resampling(size, out, 0.0, float(size))


def look(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Resample an image (h, w, c) by a matrix for its rows and one for its columns."""
    tall = np.tensordot(rows, image, axes=(1, 0))  # (out_h, w, c)
    return np.asarray(np.einsum("ow,hwc->hoc", columns, tall, optimize=True), dtype=np.float32)


def look_back(gradient: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Adjoint of ``look``: the gradient with respect to the image that was looked at."""
    return look(gradient, rows.T, columns.T)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image (h, w, c), antialiased."""
    return look(image, whole(image.shape[0], height), whole(image.shape[1], width))
