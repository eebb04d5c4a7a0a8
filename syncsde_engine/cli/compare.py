# SPDX-License-Identifier: GPL-3.0-or-later
"""One task with several strategies, or several values of 1/lambda, and several seeds (Fig. 9)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_type_hints

from .. import tasks
from ..config import CONFIGS, TaskConfig
from ..errors import InvalidRequest, NumericalFailure
from ..output import Stage
from ..request import build
from ..tasks import Artifacts, Progress
from . import recording
from .console import Console
from .flags import number, plain, whole
from .table import Result, entries, markdown


class Variant(NamedTuple):
    name: str
    folder: str
    configs: list[TaskConfig]  # one for each seed


def add_flags(command: argparse.ArgumentParser, task: str) -> None:
    """What is varied."""
    group = command.add_argument_group("what is compared")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--strategies",
        type=listed(str),
        metavar="A,B,...",
        help=f"default: {', '.join(strategies(task))}",
    )
    either.add_argument(
        "--inverse-lambdas",
        type=listed(number),
        metavar="X,X,...",
        help="values of 1/lambda for syncsde, in place of strategies",
    )
    group.add_argument(
        "--seeds", type=listed(whole), metavar="N,N,...", help="default: the one of --seed"
    )


def listed(read: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Read values between commas; each counts once."""

    def values(text: str) -> list[Any]:
        parts = [part.strip() for part in text.split(",")]
        if not all(parts):
            raise argparse.ArgumentTypeError(f"{text!r} has an empty entry")
        return list(dict.fromkeys(read(part) for part in parts))

    return values


def strategies(task: str) -> tuple[str, ...]:
    """All that are valid for a task."""
    return get_args(plain(get_type_hints(CONFIGS[task], include_extras=True)["strategy"]))


def variants(options: argparse.Namespace, parameters: Mapping[str, Any]) -> list[Variant]:
    """Every variant that was asked for, checked. Raises InvalidRequest."""
    given = vars(options)
    for one, several in (
        ("strategy", "strategies"),
        ("seed", "seeds"),
        ("inverse_lambda", "inverse_lambdas"),
    ):
        if several in given and one in given:
            raise InvalidRequest(
                f"--{one} makes no sense beside --{several}.",
                hint=f"Name all of them in --{several}.",
                field=one,
            )
    alone = given.get("strategy")  # flags only: a job file is about one run
    if "inverse_lambdas" in given:
        if alone not in (None, "syncsde"):
            raise InvalidRequest(
                f"1/lambda means nothing to the strategy {alone!r}.",
                hint="Leave out --strategy, or compare strategies.",
                field="strategy",
            )
        changes = {
            f"1/lambda = {shortest(value)}": {"strategy": "syncsde", "inverse_lambda": value}
            for value in given["inverse_lambdas"]
        }
    else:
        names = given.get("strategies", strategies(options.task) if alone is None else [alone])
        changes = {name: {"strategy": name} for name in names}
    seeds = given.get("seeds", [parameters.get("seed", 0)])
    return [
        Variant(
            name,
            name.replace("1/lambda = ", "inverse-lambda-"),
            [build(options.task, {**parameters, **change, "seed": seed}) for seed in seeds],
        )
        for name, change in changes.items()
    ]


def shortest(value: float) -> str:
    return str(value).removesuffix(".0")


def run(
    options: argparse.Namespace,
    console: Console,
    variants: Sequence[Variant],
    inputs: Mapping[str, bytes],
    stage: Stage,
) -> list[Result]:
    """Run every variant with every seed and stage the files of each, a sheet and a table.

    A run that does not stay finite is told of, and the others go on. If none does, or for any
    other error, NumericalFailure and the like are raised.
    """
    from . import sheet  # imports torch

    results: list[Result] = []
    rows: list[list[sheet.Cell]] = []
    failure: NumericalFailure | None = None
    for variant in variants:
        rows.append([])
        for config in variant.configs:
            folder = f"{variant.folder}/seed-{config.seed}"
            recorder = recording.inside(options, stage, folder)
            reached = Reached()
            try:
                with console.showing(variant=variant.name, seed=config.seed) as show:
                    artifacts = tasks.follow(
                        tasks.run(options.task, config, inputs), show, reached, recorder.watch
                    )
            except NumericalFailure as error:
                failure = error
                result = Result(variant.name, config.seed, None, None, reached.step + 1)
                rows[-1].append((label(result), None))
            else:
                recorder.finish()
                add(stage, folder, artifacts)
                report = json.loads(artifacts["report.json"])
                result = Result(variant.name, config.seed, folder, report, None)
                rows[-1].append((label(result), sheet.picture(artifacts)))
            results.append(result)
    if failure is not None and not any(result.report for result in results):
        raise failure
    title = about(options.task, variants[0].configs[0])
    stage.add("compare.png", sheet.draw(rows, title))
    stage.add("compare.md", f"{title}\n\n{markdown(results)}\n".encode())
    stage.add("compare.json", json.dumps(entries(results), indent=2).encode())
    return results


class Reached:
    """The last step that was finished."""

    step = 0

    def __call__(self, progress: Progress) -> None:
        if progress.state is not None:
            self.step = progress.step


def add(stage: Stage, folder: str, artifacts: Artifacts) -> None:
    for name, content in artifacts.items():
        stage.add(f"{folder}/{name}", content)


def label(result: Result) -> str:
    if result.report is None:
        return f"{result.variant}, seed {result.seed}: {result.failure}"
    disagreement = result.report.get("disagreement")
    told = "" if disagreement is None else f": {disagreement:.4f}"
    return f"{result.variant}, seed {result.seed}{told}"


def about(task: str, config: TaskConfig) -> str:
    given = getattr(config, "prompt", ())  # a task from elsewhere may have none
    prompts = [given] if isinstance(given, str) else given
    return f"{task}: {' / '.join(prompts)}, {config.model}, {config.steps} steps"
