"""The verbs of the package: there for a notebook, free until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import competition


@pytest.mark.parametrize("name", sorted(set(competition.__all__) - {"__version__"}))
def test_every_verb_is_what_it_says(name: str) -> None:
    verb = getattr(competition, name)
    assert callable(verb)
    assert verb.__name__ == name


def test_importing_the_package_and_naming_a_recipe_costs_no_framework() -> None:
    code = (
        "import sys; from competition import recipe, Predictions; recipe('probe')\n"
        "print(sorted({'torch','timm','fastai','pandas','sklearn','matplotlib','PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        competition.nothing  # noqa: B018
