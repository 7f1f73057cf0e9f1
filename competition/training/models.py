"""timm backbones: found by name, loaded strictly, with the arguments and input statistics they were trained with.

Weights come from a folder in timm's local-directory form (``config.json`` + ``model.safetensors``), from a folder of
such folders, or from timm's hub. Only safetensors are read from disk; nothing here unpickles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from competition.console import say
from competition.data.names import wordnet
from competition.environment import weights_candidates
from competition.errors import ResumeError, UsageError, WeightsError, nearest
from competition.files import atomic_path, digest_of, digest_of_file, in_utf8


@dataclass(frozen=True)
class InputSpec:
    """What a backbone expects: square side in pixels, RGB mean and std in [0, 1], interpolation, centre-crop share."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_pct: float


@dataclass(frozen=True)
class BackboneRef:
    """A backbone that can be built, and the digest of the weights it would have.

    Attributes:
        name: how people call it: the folder's or timm's name.
        architecture: timm's name of the architecture.
        folder: the local-directory folder with the weights, None for timm's hub.
        digest: of the weights (local) or of their address (hub).
        spec: what it expects as input.
        num_features: length of the pooled feature vector.
    """

    name: str
    architecture: str
    folder: Path | None
    digest: str
    spec: InputSpec
    num_features: int


def find_backbones(names: Sequence[str], where: Path | str | None = None) -> tuple[BackboneRef, ...]:
    """Find backbones by name, or all that lie in a folder of weights.

    Args:
        names: timm names, folder names or paths of local-directory folders; empty takes every folder found.
        where: one local-directory folder or a folder of them; None looks at ``DOGBREED_WEIGHTS`` and Kaggle's inputs.

    Raises:
        UsageError: an unknown name (the nearest is offered), or no name and no weights.
        WeightsError: ``where`` does not exist or holds no weights.
    """
    folders = local_folders(where)
    if not names:
        if not folders:
            raise UsageError(
                "no pretrained weights here: pass --weights FOLDER, set DOGBREED_WEIGHTS, or name a timm model "
                "with --set backbones=NAME (its weights will be downloaded)"
            )
        return tuple(_local_ref(folder) for folder in folders)
    return tuple(_find(name, folders) for name in names)


def find_same(
    names: Sequence[str], digests: Mapping[str, str], where: Path | str | None, run: Path
) -> tuple[BackboneRef, ...]:
    """The backbones that a run was made with.

    Args:
        names: as for ``find_backbones``, at least one.
        digests: of the run's weights, by the backbones' own names.
        where: as for ``find_backbones``.
        run: the run's folder, for people.

    Raises:
        ResumeError: a backbone is not here, or its weights are others.
        WeightsError: ``where`` holds no weights.
    """
    folders = local_folders(where)
    return tuple(_find_same(name, digests, folders, run) for name in names)


def _find_same(name: str, digests: Mapping[str, str], folders: Sequence[Path], run: Path) -> BackboneRef:
    try:
        ref = _find(name, folders)
    except UsageError:  # no model of timm has that name: it was the name of a folder
        ref = None
    if ref is not None and digests.get(ref.name) == ref.digest:
        return ref
    if ref is not None and ref.folder is not None:
        raise ResumeError(f"{ref.folder} holds other weights than those {run} was made with: pass the same --weights")
    here = f"only {', '.join(folder.name for folder in folders)}" if folders else "none"
    raise ResumeError(
        f"{run} was made with weights of '{name}' from a folder, and here are {here}: pass the same --weights FOLDER"
    )


def local_folders(where: Path | str | None = None) -> list[Path]:
    """Folders in timm's local-directory form, at ``where`` or at the usual places, sorted by name.

    Raises:
        WeightsError: ``where`` was given and holds none.
    """
    for reason, place in weights_candidates(where):
        found = _folders_in(place)
        if found:
            return found
        if reason != "Kaggle input":
            problem = "holds no folder with config.json + model.safetensors" if place.is_dir() else "does not exist"
            raise WeightsError(f"{reason} {place} {problem}: give a folder in timm's local-directory form")
    return []


def _folders_in(place: Path) -> list[Path]:
    """``place`` itself or what lies up to four levels below it (Kaggle's model inputs nest that deep)."""
    depths = ("", "*/", "*/*/", "*/*/*/", "*/*/*/*/")
    for depth in depths:
        found = sorted({path.parent for path in place.glob(f"{depth}model.safetensors")})
        found = [folder for folder in found if (folder / "config.json").is_file()]
        if found:
            return found
    return []


def _find(name: str, folders: Sequence[Path]) -> BackboneRef:
    # A run folder has a config.json as well: only a folder with weights in it is meant.
    if (Path(name) / "config.json").is_file() and (Path(name) / "model.safetensors").is_file():
        return _local_ref(Path(name))
    for folder in folders:
        if name in (folder.name, _read_config(folder)["architecture"]):
            return _local_ref(folder)
    import timm

    if not timm.is_model(name):
        known = [*(folder.name for folder in folders), *timm.list_models()]
        raise UsageError(f"unknown backbone '{name}'{nearest(name, known)}")
    return _hub_ref(name)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config["architecture"], str):
            raise TypeError("'architecture' is no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'config.json'} is not a timm configuration ({error})") from error
    return dict(config)


def _local_ref(folder: Path) -> BackboneRef:
    import timm

    config = _read_config(folder)
    architecture = config["architecture"]
    if not timm.is_model(architecture):
        raise WeightsError(f"{folder} is of architecture '{architecture}', which this timm does not know")
    stored = config.get("pretrained_cfg", config)
    default = timm.get_pretrained_cfg(architecture)
    spec = _spec({**(default.to_dict() if default else {}), **stored})
    digest = digest_of([digest_of_file(folder / "model.safetensors"), digest_of_file(folder / "config.json")])
    arguments = dict(config.get("model_args", {}))
    return BackboneRef(folder.name, architecture, folder, digest, spec, _count_features(architecture, arguments))


def _hub_ref(name: str) -> BackboneRef:
    import timm

    config = timm.get_pretrained_cfg(name)
    stored = config.to_dict() if config else {}
    address = stored.get("hf_hub_id") or stored.get("url") or ""
    return BackboneRef(name, name, None, digest_of([name, address]), _spec(stored), _count_features(name, {}))


def _spec(stored: dict[str, Any]) -> InputSpec:
    return InputSpec(
        size=int(stored.get("input_size", (3, 224, 224))[-1]),
        mean=tuple(stored.get("mean", (0.485, 0.456, 0.406))),
        std=tuple(stored.get("std", (0.229, 0.224, 0.225))),
        interpolation=str(stored.get("interpolation", "bicubic")),
        crop_pct=float(stored.get("crop_pct", 0.875)),
    )


def _count_features(architecture: str, arguments: dict[str, Any]) -> int:
    """Length of the pooled features, from a model without memory (the meta device)."""
    import timm

    with torch.device("meta"):
        model = timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
    return int(getattr(model, "head_hidden_size", None) or model.num_features)


def create_model(
    ref: BackboneRef,
    num_classes: int | None = None,
    *,
    pretrained: bool = True,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    image_size: int | None = None,
) -> nn.Module:
    """Build a plain timm model: (n, 3, h, w) normalised float -> (n, num_classes) logits, or pooled features.

    Args:
        ref: which backbone.
        num_classes: outputs of a new head; 0 gives pooled features, None keeps the backbone's own classifier.
        pretrained: load the weights (strictly); False draws new ones.
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth.
        image_size: side of the input for backbones with position tables; None keeps their own.

    Raises:
        WeightsError: the weights are missing, damaged or of another architecture.
        UsageError: the backbone refuses the image size.
    """
    import timm
    from safetensors import SafetensorError

    arguments: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if drop_rate:
        arguments["drop_rate"] = drop_rate
    if drop_path_rate:
        arguments["drop_path_rate"] = drop_path_rate
    name = f"local-dir:{ref.folder}" if ref.folder else ref.architecture
    if image_size and image_size != ref.spec.size and has_fixed_size(ref):
        arguments["img_size"] = image_size
    try:
        with _lacking_tensors() as lacking:
            model: nn.Module = timm.create_model(name, pretrained=pretrained, **arguments)
        _require_loaded(model, lacking)
        return model
    except (RuntimeError, OSError, ValueError, AssertionError, KeyError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:240]
        if "img_size" in arguments:
            raise UsageError(f"{ref.name} cannot take images of {image_size} px: {reason}") from error
        where = ref.folder / "model.safetensors" if ref.folder else f"timm's hub ({ref.architecture})"
        raise WeightsError(f"weights of {where} cannot be loaded into '{ref.architecture}': {reason}") from error


@contextmanager
def _lacking_tensors() -> Iterator[set[str]]:
    """Names that ``load_state_dict`` finds no tensor for: with a head of another size timm asks for no strictness."""
    lacking: set[str] = set()
    original = nn.Module.load_state_dict

    def load(module: nn.Module, *arguments: Any, **named: Any) -> Any:
        result = original(module, *arguments, **named)
        lacking.update(result.missing_keys)
        return result

    nn.Module.load_state_dict = load  # type: ignore[method-assign, assignment]
    try:
        yield lacking
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


def _require_loaded(model: nn.Module, lacking: set[str]) -> None:
    """Check that nothing but the head was left as it was drawn.

    Raises:
        ValueError: some of the backbone's parameters had no tensor in the file.
    """
    heads = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    new = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    left = [name for name, _ in model.named_parameters() if name in lacking and not name.startswith(new)]
    if left:
        raise ValueError(f"{len(left)} of its tensors are not in the file (first: {left[0]})")


def has_fixed_size(ref: BackboneRef) -> bool:
    """Whether a backbone is built for one image size (position tables), as timm's registry says."""
    import timm

    config = timm.get_pretrained_cfg(ref.architecture)
    return bool(config and config.fixed_input_size)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state as safetensors, atomically."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, str(temporary))


def load_weights(model: nn.Module, path: Path) -> None:
    """Load safetensors into a model, strictly; half precision is cast to the model's own.

    Raises:
        WeightsError: the file is missing, damaged or of another architecture (the first differing name is given).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with in_utf8(path) as plain:
            state = load_file(str(plain))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error})") from error
    own = model.state_dict()
    lacking, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    unequal = [name for name in own if name in state and own[name].shape != state[name].shape]
    if lacking or extra or unequal:
        first = (lacking or extra or unequal)[0]
        raise WeightsError(
            f"{path} holds weights of another architecture: {len(lacking)} missing, {len(extra)} unknown, "
            f"{len(unequal)} of another shape (first: {first})"
        )
    model.load_state_dict(state)


def pick_device(wanted: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device; of several (see ``spread_devices``) the first.

    Raises:
        UsageError: a GPU was asked for and there is none, or the name means nothing.
    """
    wanted = wanted.split(",")[0].strip()
    if wanted in ("auto", "all"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UsageError(f"unknown device '{wanted}': use auto, all, cpu, cuda, cuda:N or a list of those") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU here: use --device cpu (slower) or run where there is one")
    return device


def spread_devices(wanted: str) -> tuple[str, ...]:
    """The devices that folds are spread over: ``all`` GPUs, a list (``cuda:0,cuda:1``), or the one there is.

    Raises:
        UsageError: one of them does not exist.
    """
    names = tuple(part.strip() for part in wanted.split(",") if part.strip())
    if names == ("all",):
        names = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or ("cpu",)
    for name in names:
        device = pick_device(name)
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise UsageError(f"there is no {name}: this machine has {torch.cuda.device_count()} GPUs")
    return names


def device_here(wanted: str) -> str:
    """The device that a run was made on where this machine has it, else ``auto``: it may be used on another machine."""
    try:
        spread_devices(wanted)
    except UsageError:
        return "auto"
    return wanted


def imagenet_rows(classes: Sequence[str]) -> dict[str, int]:
    """Which of ImageNet-1k's 1,000 classes the competition's classes are; classes without one are left out.

    WordNet's number in a name (``n02085620-Chihuahua``) decides, else the name does. A name that means two things in
    ImageNet (the Cardigan is a corgi and a jacket) is taken where the others lie.
    """
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    index_of: dict[str, list[int]] = {}
    for index in range(info.num_classes()):
        for lemma in info.index_to_description(index, detailed=False).split(","):
            index_of.setdefault(_letters(lemma), []).append(index)
    numbers = {wnid: index for index, wnid in enumerate(info.label_names())}
    found: dict[str, list[int]] = {}
    for name in classes:
        wnid, bare = wordnet(name)
        if wnid in numbers:
            found[name] = [numbers[wnid]]
        elif _letters(bare) in index_of:
            found[name] = sorted(set(index_of[_letters(bare)]))
    certain = [indices[0] for indices in found.values() if len(indices) == 1]
    middle = float(np.median(certain)) if certain else 0.0
    return {name: min(indices, key=lambda index: abs(index - middle)) for name, indices in found.items()}


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]+", "", name.casefold())


def classifier_of(ref: BackboneRef) -> tuple[np.ndarray, np.ndarray]:
    """The backbone's own linear classifier: weight (classes, d) and bias (classes,), float32.

    Raises:
        WeightsError: it has none, or not a linear one on the pooled features.
    """
    layer = create_model(ref).get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear) or layer.in_features != ref.num_features:
        raise WeightsError(f"{ref.name} has no linear classifier on its pooled features")
    say(f"{ref.name}: using its own classifier of {layer.out_features:,} classes")
    weight = layer.weight.detach().float().numpy()
    return weight, layer.bias.detach().float().numpy() if layer.bias is not None else np.zeros(len(weight), np.float32)
