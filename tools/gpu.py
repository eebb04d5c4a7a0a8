# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that needs a GPU, in one command: python tools/gpu.py --minutes 11 --output DIR.

First, in at most three minutes: the tests marked `gpu` (nvdiffrast's parity among them, where it is
installed) and the pace of networks of Stable Diffusion's size. Then mini is trained to the end of
the minutes from the newest checkpoint: a snapshot of a run (`--snapshot`), a diffusers folder
(`--from`), or nothing. What it leaves in DIR: report.json, log.txt and the exported model in parts
under 16 MB (`cat model.tar.part* | tar x`). `--tiny` rehearses it all on a CPU.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from training.checkpoint import load_checkpoint  # noqa: E402
from training.export import export  # noqa: E402
from training.loop import Clock  # noqa: E402
from training.plan import PRESETS, Plan, save_plan  # noqa: E402
from training.snapshot import restore_snapshot, widths  # noqa: E402
from training.stages import run_stages  # noqa: E402
from training.start import START, start_from  # noqa: E402

log = logging.getLogger("gpu")

PART_BYTES = 15_000_000
CHECK_MINUTES = 3.0
EXPORT_MINUTES = 0.4  # kept for the end
# Of the minutes for training; what a stage does not need goes to the joint one.
SHARES = {"render": 0.22, "autoencoder": 0.24, "encode": 0.08, "unet": 0.04, "decoder": 0.08}
PROBED = 0.25  # of a stage's minutes, after which its steps are set to what fits


@dataclass
class Session:
    """One stay at the machine."""

    minutes: float
    output: Path
    device: torch.device
    began: float = field(default_factory=time.monotonic)
    report: dict[str, Any] = field(default_factory=dict)

    def left(self) -> float:
        """Minutes until the end."""
        return self.minutes - (time.monotonic() - self.began) / 60

    def note(self, name: str, value: Any) -> None:
        """Keep a figure, at once on disk: the machine may be taken away."""
        self.report[name] = value
        self.report["minutes_used"] = round(self.minutes - self.left(), 2)
        (self.output / "report.json").write_text(json.dumps(self.report, indent=1) + "\n")
        log.info("%s: %s", name, value)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(options.output / "log.txt")]
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    session = Session(options.minutes, options.output, device)
    session.note("device", torch.cuda.get_device_name() if device.type == "cuda" else "cpu")
    if not options.skip_checks:
        check(session, options.tiny)
    train(session, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=11.0, help="for everything")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--work", type=Path, metavar="DIR", help="run folder; default OUTPUT/run")
    parser.add_argument("--from", dest="source", type=Path, metavar="MODEL", help="exported model")
    parser.add_argument(
        "--snapshot", type=Path, metavar="DIR", help="of `python -m training snapshot`"
    )
    parser.add_argument("--skip-checks", action="store_true", help="train only")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, for a rehearsal")
    return parser


def check(session: Session, tiny: bool) -> None:
    """Tests and pace, never longer than CHECK_MINUTES or a quarter of the whole."""
    limit = 60 * min(CHECK_MINUTES, session.minutes / 4)
    ends = time.monotonic() + limit
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "tests/mesh",
        "-p",
        "no:cacheprovider",
    ]
    try:
        done = subprocess.run(
            command, cwd=ROOT, timeout=limit * 0.7, capture_output=True, text=True, check=False
        )
        told = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""]
        session.note("gpu_tests", {"exit": done.returncode, "last": told[-1]})
        (session.output / "tests.txt").write_text(done.stdout + done.stderr)
    except subprocess.TimeoutExpired:
        session.note("gpu_tests", "did not end in time")
    if time.monotonic() < ends:
        try:
            session.note("stable_diffusion_size", pace(session.device, tiny, ends))
        except (RuntimeError, ImportError) as error:  # of a figure training does not need
            session.note("stable_diffusion_size", f"failed: {error}")


@torch.no_grad()
def pace(device: torch.device, tiny: bool, ends: float) -> dict[str, float]:
    """Seconds of one step of ten guided views through a UNet and a ControlNet of that size."""
    from diffusers.models.controlnets.controlnet import ControlNetModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    smaller = {"block_out_channels": (32, 32, 32, 32), "attention_head_dim": 4} if tiny else {}
    widths = {"cross_attention_dim": 32 if tiny else 768, **smaller}
    views, cells = (2, 8) if tiny else (20, 64)
    kind = torch.float16 if device.type == "cuda" else torch.float32
    unet: Any = UNet2DConditionModel(**widths)
    controlnet: Any = ControlNetModel.from_unet(unet)
    for network in (unet, controlnet):
        network.to(device, kind).eval()
    noisy = torch.randn(views, 4, cells, cells, device=device, dtype=kind)
    text = torch.randn(views, 77, widths["cross_attention_dim"], device=device, dtype=kind)
    depth = torch.rand(views, 3, 8 * cells, 8 * cells, device=device, dtype=kind)
    when = torch.full((views,), 500, device=device)

    def step() -> None:
        down, middle = controlnet(noisy, when, text, depth, return_dict=False)
        unet(
            noisy,
            when,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        )
        if device.type == "cuda":
            torch.cuda.synchronize()

    step()
    count, start = 0, time.monotonic()
    while count < 10 and time.monotonic() < ends:
        step()
        count += 1
    seconds = (time.monotonic() - start) / max(count, 1)
    return {"seconds_a_step": round(seconds, 4), "views": views // 2, "size": 8 * cells}


def train(session: Session, options: argparse.Namespace) -> None:
    """From the newest checkpoint to the end of the minutes; exports what there is then."""
    folder = options.work or session.output / "run"
    folder.mkdir(parents=True, exist_ok=True)
    plan = PRESETS["smoke" if options.tiny else "gpu"]
    if not options.tiny:
        plan = replace(plan, workers=min(plan.workers, os.cpu_count() or 1))
    plan = replace(plan, **known_sizes(options))
    if options.snapshot:
        restore_snapshot(options.snapshot, folder, plan)
    save_plan(plan, folder / "plan.json")
    if options.source:
        start_from(options.source, folder, replace(plan, text_steps=0))
    training = session.left() - EXPORT_MINUTES

    def slice_(stage: str, minutes: float) -> bool:
        minutes = min(minutes, session.left() - EXPORT_MINUTES)
        finished = run_stages(plan, folder, Clock(max(minutes, 0)), session.device, stage)
        session.note(stage, "finished" if finished else f"stopped after {minutes:.1f} minutes")
        return finished

    # A data set that is not complete by then is cut to what there is.
    if not slice_("render", SHARES["render"] * training):
        plan = cut_to_rendered(plan, folder)
        save_plan(plan, folder / "plan.json")
        session.note("images", plan.images)
    decoder = SHARES["decoder"] * training
    for stage, steps in (("autoencoder", "vae_steps"), ("encode", ""), ("unet", "unet_steps")):
        skipped = {"autoencoder": (folder / "vae").exists(), "unet": (folder / START).exists()}
        if skipped.get(stage):
            continue
        minutes = SHARES[stage] * training
        if steps:
            plan = fitted(plan, steps, folder / f"{stage}.pt", minutes, slice_, stage)
        if not slice_(stage, minutes * 1.5):
            return
    minutes = session.left() - EXPORT_MINUTES - decoder
    plan = fitted(plan, "joint_steps", folder / "joint.pt", minutes, slice_, "joint")
    save_plan(plan, folder / "plan.json")
    slice_("joint", session.left() - EXPORT_MINUTES - decoder)
    finish_decoder(session, plan, folder)
    card = (ROOT / "training" / "card.md").read_text()
    model = session.output / "model"
    session.note("bytes", export(plan, folder, model, card, "1.0"))
    session.note("joint_step", step_of(folder / "joint.pt"))
    session.note("parts", in_parts(model, session.output))
    shutil.rmtree(model)


def known_sizes(options: argparse.Namespace) -> dict[str, Any]:
    """Widths of the checkpoint, which the plan must have."""
    if options.snapshot:
        return widths(options.snapshot)
    if not options.source:
        return {}
    unet, vae, control = (
        json.loads((options.source / part / "config.json").read_text())
        for part in ("unet", "vae", "controlnet")
    )
    return {
        "unet_widths": tuple(unet["block_out_channels"]),
        "unet_layers": unet["layers_per_block"],
        "vae_widths": tuple(vae["block_out_channels"]),
        "depth_widths": tuple(control["conditioning_embedding_out_channels"]),
        "text_width": unet["cross_attention_dim"],
    }


def fitted(
    plan: Plan, name: str, checkpoint: Path, minutes: float, slice_: Any, stage: str
) -> Plan:
    """Set a stage's steps to what its minutes allow, by the pace of its first part.

    The rate of a stage is held before its cool-down, so its length may change until then.
    """
    first = step_of(checkpoint)
    start = time.monotonic()
    if slice_(stage, minutes * PROBED):
        return plan
    used = (time.monotonic() - start) / 60
    done = step_of(checkpoint) - first
    steps = step_of(checkpoint) + int(done / max(used, 1e-3) * max(minutes - used, 0))
    log.info("%s: %d steps in %.2f minutes, so %d in all", stage, done, used, steps)
    return replace(plan, **{name: max(steps, 1)})


def finish_decoder(session: Session, plan: Plan, folder: Path) -> None:
    minutes = session.left() - EXPORT_MINUTES
    if minutes <= 0:
        return
    clock = Clock(minutes)
    done = run_stages(plan, folder, clock, session.device, "decoder")
    session.note("decoder", "finished" if done else "left as it was: time is over")


def cut_to_rendered(plan: Plan, folder: Path) -> Plan:
    """A plan for the shards that are there without a gap."""
    shards = 0
    while (folder / "renders" / f"scenes-{shards:04}.json").exists():
        shards += 1
    if shards < 2:
        raise SystemExit("fewer than two shards were rendered in time")
    return replace(plan, images=shards * plan.shard)


def step_of(checkpoint: Path) -> int:
    state = load_checkpoint(checkpoint)
    return 0 if state is None else int(state["step"])


def in_parts(model: Path, output: Path) -> list[str]:
    """Pack a folder into parts under 16 MB."""
    packed = output / "model.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(model, arcname="mini")
    names = []
    with packed.open("rb") as content:
        while part := content.read(PART_BYTES):
            names.append(f"model.tar.part{len(names)}")
            (output / names[-1]).write_bytes(part)
    packed.unlink()
    return names


if __name__ == "__main__":
    sys.exit(main())
