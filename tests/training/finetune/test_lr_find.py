"""The learning-rate range test."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from competition.record.run_dir import RunDir
from competition.training.finetune.lr_find import RateRange, lr_find, plot_rates
from tests.training.small_fold import small_config, small_data, small_fold


def test_the_rate_rises_and_the_suggestion_lies_in_the_descent(tmp_path):
    data = small_data(tmp_path / "photos")
    found = lr_find(
        data, small_fold(data), small_config(freeze_epochs=1), RunDir(tmp_path / "run"), weights=None, steps=30
    )
    assert 6 <= len(found.rates) == len(found.losses) <= 31
    ratios = found.rates[1:] / found.rates[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)
    assert found.rates[0] == pytest.approx(1e-7, rel=1e-3)
    assert found.rates[0] < found.suggestion < found.rates[-1]
    assert not (tmp_path / "run" / "fold0").exists() or not any((tmp_path / "run" / "fold0").iterdir())


def test_the_plot_is_a_picture(tmp_path):
    rates = np.geomspace(1e-6, 1, 40)
    path = plot_rates(RateRange(rates, np.cos(np.linspace(0, 4, 40)), 1e-3), tmp_path / "rates.png")
    assert np.asarray(Image.open(path)).std() > 5
