"""Commands are tried on what the rooms below them are tried on."""

from __future__ import annotations

from tests.data.conftest import kaggle as kaggle
from tests.prediction.conftest import fold_of as fold_of
from tests.prediction.conftest import make_cv as make_cv
from tests.prediction.conftest import make_run as make_run
from tests.prediction.conftest import tiny as tiny
