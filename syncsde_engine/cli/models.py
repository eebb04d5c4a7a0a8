# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde models`: which models are shipped, and what a model says of itself. Loads no torch."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from .. import output
from ..errors import MissingWeights
from ..models import catalog, detect
from .console import Console

CARD = "README.md"
IMPORTED = {  # flag: file that is taken by default, what it is
    "args": ("args.json", "arguments of its training"),
    "mean": ("Mean.npy", "mean of HumanML3D's features"),
    "std": ("Std.npy", "standard deviation of them"),
}


def add_to(commands: argparse._SubParsersAction) -> None:
    models = commands.add_parser("models", help="list models, or show what one can do")
    actions = models.add_subparsers(metavar="ACTION", required=True, title="actions")
    listing = actions.add_parser("list", help="name the models that are shipped")
    listing.set_defaults(command=list_models)
    showing = actions.add_parser("show", help="print a model's card: vocabulary, figures, limits")
    showing.add_argument("model", help="name of a shipped model, or a model's folder or file")
    showing.set_defaults(command=show_model)
    importing = actions.add_parser("import", help="make a folder of a downloaded motion model")
    importing.add_argument("file", type=Path, help="MDM's modelNNNNNNNNN.pt")
    for name, (default, text) in IMPORTED.items():
        importing.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=f"{text} (default: {default} beside it)"
        )
    importing.add_argument(
        "--text-encoder", type=Path, metavar="DIR", help="CLIP ViT-B/32, to be put into the folder"
    )
    importing.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder")
    importing.set_defaults(command=import_model)
    converting = actions.add_parser("convert", help="make safetensors of pickled weights")
    converting.add_argument("file", type=Path, help="a .ckpt, .bin or .pt, or a folder with some")
    converting.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder")
    converting.set_defaults(command=convert_model)
    for action in (listing, showing, importing, converting):
        action.add_argument("--json", action="store_true", help="as one JSON object")


def list_models(options: argparse.Namespace, console: Console) -> int:
    found = {name: str(folder) for name, folder in catalog.EMBEDDED.items()}
    console.event("models", models=found)
    for name, folder in found.items():
        console.say(f"{name}  {folder}")
    return 0


def show_model(options: argparse.Namespace, console: Console) -> int:
    """Print what it is and its card without the header; where there is none, the settings it gets.

    For what cannot be given as a model, why not.
    """
    folder = catalog.locate(options.model)
    found = detect.detect(folder)
    if folder not in catalog.EMBEDDED.values():
        console.say(f"{found}")
        if reason := refusal(found):
            console.say(reason)
            console.event("found", folder=str(folder), found=told(found), reason=reason)
            return 0
    settings = dataclasses.asdict(catalog.settings(folder))
    card = folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    vocabulary = catalog.vocabulary(folder)
    console.event(
        "model",
        folder=str(folder),
        found=told(found),
        settings=settings,
        vocabulary=vocabulary,
        card=text,
    )
    console.say(without_header(text) or json.dumps(settings, indent=2))
    return 0


def told(found: detect.Found) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(found).items() if name != "path"}


def refusal(found: detect.Found) -> str:
    """Why something is not taken as a model; "" if it is."""
    try:
        detect.require_model(found)
    except MissingWeights as error:
        return str(error)
    return ""


def convert_model(options: argparse.Namespace, console: Console) -> int:
    """Write safetensors in place of pickles, all of them or nothing."""
    from ..models.convert import convert  # imports torch

    with output.staging(options.output) as stage:
        for name, content in convert(options.file):
            stage.add(name, content)
        output.publish([stage])
    console.event("converted", folder=str(options.output), files=stage.names)
    console.say(f"{options.output}: {', '.join(stage.names)}")
    return 0


def import_model(options: argparse.Namespace, console: Console) -> int:
    """Convert a checkpoint, all of it or nothing, and say what its data allow."""
    from ..models import mdm_import  # imports torch

    given = vars(options)
    paths = {
        name: given.get(name, options.file.parent / default)
        for name, (default, _) in IMPORTED.items()
    }
    with output.staging(options.output) as stage:
        files = mdm_import.convert(options.file, **paths, text_encoder=given.get("text_encoder"))
        for name, content in files.items():
            stage.add(name, content)
        output.publish([stage])
    config = json.loads(files["config.json"])
    console.event("imported", folder=str(options.output), config=config)
    console.say(f"{options.output}: {config['license']}")
    return 0


def without_header(card: str) -> str:
    """A model card without the YAML block at its top."""
    if card.startswith("---\n"):
        card = card.partition("---\n")[2].partition("---\n")[2]
    return card.strip()
