"""How close a picture is to its original: PSNR and SSIM."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Constants of Wang et al. 2004, section III.C: a Gaussian window of 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03.
_SIGMA, _RADIUS, _C1, _C2 = 1.5, 5, 0.01**2, 0.03**2


def psnr(originals: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each image in dB, float64 (n,); infinite where nothing differs.

    Args:
        originals: (n, h, w, c) in [0, 1].
        images: the same shape.
    """
    error = np.square(originals.astype(np.float64) - images).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)


def ssim(originals: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Structural similarity of each image (Wang, Bovik, Sheikh, Simoncelli 2004), float64 (n,); 1 where equal.

    Means and covariances are weighted by a Gaussian window, mirrored at the border; the mean over the pixels whose
    window lies inside the image is taken, as the authors' own code does.

    Args:
        originals: (n, h, w, c) in [0, 1], sides above 10 pixels.
        images: the same shape.

    Raises:
        ValueError: the images are smaller than the window.
    """
    if min(originals.shape[1:3]) <= 2 * _RADIUS:
        raise ValueError(f"SSIM needs images larger than {2 * _RADIUS} px, not {originals.shape[1:3]}")
    x, y = originals.astype(np.float64), images.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) + _blurred(y * y) - mean_x**2 - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    similarity /= (mean_x**2 + mean_y**2 + _C1) * (variances + _C2)
    return similarity[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS].mean(axis=(1, 2, 3))


def _blurred(images: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(images, (0, _SIGMA, _SIGMA, 0), mode="reflect", radius=(0, _RADIUS, _RADIUS, 0))
