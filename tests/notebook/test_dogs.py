"""What the notebooks on photos ask of the kit beside their pictures."""

from __future__ import annotations

from pathlib import Path

from competition.notebook.dogs import backbone
from tests.training.conftest import save_local_dir


def test_a_chapter_takes_the_backbone_it_speaks_of_or_another_that_is_there(tmp_path: Path) -> None:
    save_local_dir(tmp_path / "another")
    assert backbone(tmp_path) == "another"
    save_local_dir(tmp_path / "tf_efficientnetv2_b0")
    assert backbone(tmp_path) == "tf_efficientnetv2_b0"
    assert backbone(None) == ""
