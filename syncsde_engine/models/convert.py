# SPDX-License-Identifier: GPL-3.0-or-later
"""Pickled weights as safetensors: tensors only; what else a file holds is not opened."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..errors import InvalidRequest
from .headers import PICKLES

STATE = ("state_dict", "model")  # under which training programs nest a network's tensors
SAFE_STEMS = {"pytorch_model": "model"}  # what transformers calls its files


def convert(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a pickled file as safetensors, or the files of a folder with every pickle so.

    Names are paths in the folder. Pickles that have a safetensors file beside them are left out.
    Raises InvalidRequest.
    """
    if not path.is_dir():
        yield f"{path.stem}.safetensors", converted(path)
        return
    files = sorted(each for each in path.rglob("*") if each.is_file())
    if not any(file.suffix in PICKLES for file in files):
        raise InvalidRequest(
            f"There are no pickled weights in {str(path)!r}.",
            hint=f"They end in {', '.join(PICKLES)}.",
            field="file",
        )
    for file in files:
        place = file.relative_to(path)
        if file.suffix not in PICKLES:
            yield place.as_posix(), file.read_bytes()
            continue
        stem = SAFE_STEMS.get(place.stem, place.stem)
        safe = place.with_name(f"{stem}.safetensors")
        if not (path / safe).is_file():
            yield safe.as_posix(), converted(file)


def converted(file: Path) -> bytes:
    """The tensors of a pickled file as the content of a safetensors file. Raises InvalidRequest."""
    content = read_pickle(file)
    for name in STATE:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    tensors = {
        str(name): tensor.clone().contiguous()  # safetensors takes none that share memory
        for name, tensor in (content.items() if isinstance(content, Mapping) else ())
        if isinstance(tensor, Tensor)
    }
    if not tensors:
        raise InvalidRequest(f"{str(file)!r} holds no tensors by name.", field="file")
    return safetensors.torch.save(tensors)


def read_pickle(file: Path) -> Any:
    """Open a pickle that holds nothing but tensors and plain values. Raises InvalidRequest."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickles; what is not tensors is refused
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InvalidRequest(f"There is no file {str(file)!r}.", field="file") from None
    except pickle.UnpicklingError:
        raise InvalidRequest(
            f"{str(file)!r} holds more than tensors, which could be code: it is not opened.",
            hint="Download the checkpoint from its authors again.",
            field="file",
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidRequest(f"Cannot read {str(file)!r}: {reason}", field="file") from None
