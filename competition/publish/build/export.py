"""A notebook of the checkout with the kit inside: it runs wherever it is uploaded, and asks no repository of ours."""

from __future__ import annotations

from pathlib import Path

import competition
from competition.errors import DataError, UsageError, nearest
from competition.files import write_text
from competition.publish.build.bundle import PACKAGES, pack
from competition.publish.build.ipynb import cells_of, code_cell, markdown_cell, notebook_text
from competition.publish.build.kernels import loader
from competition.publish.build.secrets import require_no_secrets
from competition.system_errors import explain_disk_errors

BUILD = Path("build") / "notebooks"


def notebooks() -> dict[str, Path]:
    """The notebooks by name.

    Raises:
        DataError: there are none: they are part of a checkout, not of an installed wheel.
    """
    folder = Path(competition.__file__).resolve().parents[1] / "notebooks"
    found = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if not found:
        raise DataError(f"{folder} holds no notebooks: they are not part of an installed kit, start in its checkout")
    return found


def export_notebook(name: str, out: Path | None = None) -> Path:
    """Write a notebook, without outputs, that carries the kit's packages in its first cell.

    Args:
        name: of a notebook, with or without ``.ipynb``.
        out: the file, or a folder that is there; ``build/notebooks/<name>.ipynb`` by default.

    Returns:
        The file.

    Raises:
        UsageError: there is no notebook of that name, or ``out`` is no place for one.
        DataError: this is no checkout, or the notebook cannot be read.
        CredentialError: what would leave the machine looks like it holds a credential.
    """
    known = notebooks()
    name = name.removesuffix(".ipynb")
    if name not in known:
        raise UsageError(f"no notebook is called '{name}'{nearest(name, known)} There are: {', '.join(known)}")
    out = BUILD / f"{name}.ipynb" if out is None else out / f"{name}.ipynb" if out.is_dir() else out
    if out.suffix != ".ipynb":
        raise UsageError(f"--out {out} is no notebook: expected a name that ends in .ipynb, or a folder")
    if out.resolve() in {path.resolve() for path in known.values()}:
        raise UsageError(f"--out {out} is a notebook of the checkout: choose another place")
    cells = cells_of(known[name])
    about = (
        f"This notebook carries the dog-breed kit: the next cell unpacks it, nothing of it is downloaded. Made by "
        f"`dogbreed notebook export {name}`."
    )
    text = notebook_text([markdown_cell(about), code_cell(loader(pack(PACKAGES)), hidden=True), *cells])
    require_no_secrets({known[name].name: "\n".join(str(cell["source"]) for cell in cells).encode()})
    with explain_disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    return out
