"""Grad-CAM of a trained model points at the animal more often than chance weighted to the centre.

pytest -m slow tests/explain/maps/test_cam_pointing.py
"""

from __future__ import annotations

from pathlib import Path

import pytest

from competition.data.sample.competition import draw_sample
from tests.explain.pointing import measure


@pytest.mark.slow
@pytest.mark.shared
def test_the_maps_of_a_trained_model_point_at_the_animal(shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights" / "mobilenetv2_100"
    if not weights.is_dir():
        pytest.skip("no MobileNetV2 weights here")
    rows, scene, _ = measure(draw_sample(tmp_path / "sample"), weights, (3,))
    gradcam, _, random = rows
    assert gradcam.accuracy is not None
    assert gradcam.accuracy > 0.7
    assert gradcam.hits > random.hits + 0.2
    assert gradcam.inside > random.inside + 0.08
    assert random.hits > scene.masks.mean()  # the rival is no straw man
