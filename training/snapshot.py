# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportAttributeAccessIssue=false
"""A run in a few megabytes: averaged weights in half precision, to go on from on another machine.

The optimizer's moments stay behind; a stage that goes on without them warms up again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .checkpoint import load_checkpoint, replace_file, save_checkpoint
from .networks import make_autoencoder
from .plan import Plan, load_plan, plan_from, save_plan
from .start import START

FILE = "snapshot.safetensors"
STAGES = {  # the modules of a stage, in the order of its average; later stages first
    "joint": ("text", "unet", "controlnet"),
    "unet": ("text", "unet"),
    "autoencoder": ("vae",),
}
_FINISHED = "finished vae"


def take_snapshot(run: Path, out: Path) -> tuple[str, int]:
    """Write the newest stage of a run, and what it builds upon, to `out`.

    Returns the stage and its step. Raises FileNotFoundError if no stage has a checkpoint yet.
    """
    stage = next((name for name in STAGES if (run / f"{name}.pt").exists()), None)
    if stage is None:
        raise FileNotFoundError(f"no stage of {run} has a checkpoint yet")
    state = load_checkpoint(run / f"{stage}.pt")
    assert state is not None
    tensors: dict[str, Tensor] = {}
    averages = iter(state["average"]["values"])
    for name in STAGES[stage]:  # all that these modules keep are parameters
        for key in state["modules"][name]:
            tensors[f"{name}/{key}"] = next(averages)
    if (run / "vae").exists():
        with safe_open(run / "vae" / "diffusion_pytorch_model.safetensors", "pt") as file:
            for key in file.keys():  # noqa: SIM118
                tensors[f"{_FINISHED}/{key}"] = file.get_tensor(key)
    plan = load_plan(run / "plan.json")
    told = {
        "stage": stage,
        "step": str(state["step"]),
        "updates": str(state["average"]["updates"]),
        "plan": json.dumps(asdict(plan)),
        "names": json.dumps(list(tensors)),  # the file sorts them, averages have their own order
    }
    out.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    replace_file(out / FILE, lambda path: save_file(halves, path, told))
    shutil.copytree(run / "tokenizer", out / "tokenizer", dirs_exist_ok=True)
    return stage, state["step"]


def restore_snapshot(snapshot: Path, run: Path, plan: Plan | None = None) -> Plan:
    """Make a run of a snapshot, with its plan or another of the same widths. Returns the plan."""
    with safe_open(snapshot / FILE, "pt") as file:
        told = file.metadata()
        tensors = {name: file.get_tensor(name).float() for name in json.loads(told["names"])}
    plan = plan or plan_from(json.loads(told["plan"]))
    run.mkdir(parents=True, exist_ok=True)
    shutil.copytree(snapshot / "tokenizer", run / "tokenizer", dirs_exist_ok=True)
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, key = name.partition("/")
        modules.setdefault(module, {})[key] = tensor
    finished = modules.pop(_FINISHED, None)
    if finished is not None:
        vae = make_autoencoder(plan)
        vae.load_state_dict(finished)
        vae.save_pretrained(run / "vae")
    stage = told["stage"]
    ordered = {name: modules[name] for name in STAGES[stage]}
    state = {
        "modules": ordered,
        "average": {
            "values": [tensor for module in ordered.values() for tensor in module.values()],
            "updates": int(told["updates"]),
        },
        "step": int(told["step"]),
    }
    if stage == "joint":
        save_checkpoint(run / START, {"modules": ordered})
    save_checkpoint(run / f"{stage}.pt", state)
    save_plan(plan, run / "plan.json")  # last: it marks the run
    return plan


def widths(snapshot: Path) -> dict[str, object]:
    """What another plan must have in common with the snapshot's."""
    with safe_open(snapshot / FILE, "pt") as file:
        plan = plan_from(json.loads(file.metadata()["plan"]))
    names = (
        "seed", "size", "vocabulary", "text_length", "text_width", "text_layers",
        "vae_widths", "latent_channels", "unet_widths", "unet_layers", "depth_widths",
    )  # fmt: skip
    return {name: getattr(plan, name) for name in names}
