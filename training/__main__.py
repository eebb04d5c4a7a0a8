# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m training`: train mini, and mime, in slices, export them, look at them."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

import torch

from .loop import Clock
from .plan import PRESETS, Plan, load_plan, save_plan, with_changes

log = logging.getLogger("training")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    torch.set_num_threads(options.threads)
    return options.command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    _add_run(parser)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of this slice")
    parser.add_argument("--preset", choices=list(PRESETS), help="sizes of a new run")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="MODEL", help="exported model to train further"
    )
    parser.add_argument("--snapshot", type=Path, metavar="DIR", help="go on from a snapshot")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="change fields of the plan"
    )
    parser.add_argument("--until", default="decoder", help="last stage: render, autoencoder, ...")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.set_defaults(command=_train)
    commands = parser.add_subparsers(title="other commands")

    snapshot = commands.add_parser("snapshot", help="write averaged weights, to go on elsewhere")
    _add_run(snapshot)
    snapshot.add_argument("--out", type=Path, required=True, metavar="DIR")
    snapshot.set_defaults(command=_snapshot)

    export = commands.add_parser("export", help="write a diffusers folder")
    _add_run(export)
    export.add_argument("--out", type=Path, required=True)
    card = Path(__file__).with_name("card.md")
    export.add_argument("--card", type=Path, default=card, help="text of the model card")
    export.add_argument("--version", default="1.0", help="version of the model")
    export.set_defaults(command=_export)

    evaluation = commands.add_parser("evaluate", help="write one table and one sheet")
    evaluation.add_argument("--model", type=Path, required=True)
    evaluation.add_argument("--out", type=Path, required=True, metavar="DIR")
    evaluation.add_argument("--size", type=int, default=384, help="pixels of a view")
    evaluation.add_argument("--steps", type=int, default=25)
    evaluation.add_argument("--guidance-scale", type=float, default=3.0)
    evaluation.add_argument("--repeats", type=int, default=2, help="views of every prompt")
    evaluation.add_argument(
        "--judge", type=Path, metavar="FILE", help="keep the judge here, for the next evaluation"
    )
    evaluation.set_defaults(command=_evaluate)

    diagnosis = commands.add_parser("diagnose", help="say where a picture is lost, in minutes")
    diagnosis.add_argument("--model", type=Path, required=True)
    diagnosis.add_argument("--out", type=Path, required=True, metavar="DIR")
    diagnosis.add_argument("--size", type=int, default=384, help="pixels of a view")
    diagnosis.add_argument("--views", type=int, default=3, help="of each material")
    diagnosis.add_argument(
        "--judge", type=Path, metavar="FILE", help="keep the judge here, for the next time"
    )
    diagnosis.set_defaults(command=_diagnose)

    motion = commands.add_parser("motion", help="train mime, the model of motion, and export it")
    _add_run(motion, Path("training/runs/mime"))
    motion.add_argument("--minutes", type=float, default=60.0, help="length of this slice")
    motion.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of the plan")
    motion.add_argument("--out", type=Path, metavar="DIR", help="where the finished model goes")
    motion.set_defaults(command=_motion)
    return parser


def _add_run(parser: argparse.ArgumentParser, folder: Path = Path("training/runs/mini")) -> None:
    parser.add_argument("--run", type=Path, default=folder, metavar="DIR")


def _train(options: argparse.Namespace) -> int:
    from .stages import run_stages
    from .start import start_from

    options.run.mkdir(parents=True, exist_ok=True)
    if options.snapshot and not (options.run / "plan.json").exists():
        from .snapshot import restore_snapshot

        restore_snapshot(options.snapshot, options.run)
    plan = _plan(options)
    if options.source:
        start_from(options.source, options.run, plan)
    clock = Clock(options.minutes)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: clock.stop())
    device = torch.device(options.device)
    finished = run_stages(plan, options.run, clock, device, options.until)
    log.info("finished" if finished else "slice over; run the same command again to continue")
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    """The run's own plan, or a new one; changes are kept for the next slice."""
    path = options.run / "plan.json"
    if path.exists():
        if options.preset:
            log.info("the run has its plan already; --preset is ignored")
        plan = load_plan(path)
    else:
        usual = "gpu" if options.device == "cuda" else "cpu"
        plan = PRESETS[options.preset or ("further" if options.source else usual)]
    plan = with_changes(plan, options.set)
    save_plan(plan, path)
    return plan


def _snapshot(options: argparse.Namespace) -> int:
    from .snapshot import take_snapshot

    stage, step = take_snapshot(options.run, options.out)
    log.info("wrote step %d of stage %s to %s", step, stage, options.out)
    return 0


def _export(options: argparse.Namespace) -> int:
    from .export import export

    plan = load_plan(options.run / "plan.json")
    export(plan, options.run, options.out, options.card.read_text(), options.version)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from .evaluate import evaluate

    evaluate(
        options.model,
        options.out,
        options.size,
        options.steps,
        options.guidance_scale,
        options.repeats,
        options.judge,
    )
    print((options.out / "figures.md").read_text())
    return 0


def _diagnose(options: argparse.Namespace) -> int:
    from .diagnosis import diagnose
    from .draw import load_pipeline
    from .judge import load_judge

    options.out.mkdir(parents=True, exist_ok=True)
    pipeline, judge = load_pipeline(options.model), load_judge(options.judge)
    print(diagnose(pipeline, judge, options.size, options.views, options.out))
    return 0


def _motion(options: argparse.Namespace) -> int:
    from .motion.export import export
    from .motion.plan import MotionPlan, changed
    from .motion.train import train

    clock = Clock(options.minutes)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: clock.stop())
    plan = changed(MotionPlan(), options.set)
    stage = train(plan, options.run, clock)
    log.info("finished" if stage.finished else "slice over; run the same command again to continue")
    if stage.finished and options.out:
        size = export(plan, options.run, stage, options.out)
        log.info("exported to %s, %.1f MB", options.out, size / 1e6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
