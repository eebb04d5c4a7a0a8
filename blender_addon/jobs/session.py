# SPDX-License-Identifier: GPL-3.0-or-later
"""The one job of this Blender session: a timer advances it in the window, a loop in background.

Nothing here is saved in blend files, so that a crash or an error never leaves a panel stuck; what
was asked and what came is in the folders of `runs`.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from ..client import engine, report
from ..client.client import Client, EngineError
from . import results, runs
from .job import Job, Request, in_words
from .results import Result
from .runs import Run

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
FEW = 5  # runs that say how long the next one takes
AREAS = ("VIEW_3D", "IMAGE_EDITOR")  # where our panels are
TAB = "SyncSDE"


@dataclass(frozen=True)
class Outcome:
    """What there is to say of a job that went well."""

    text: str  # such as "Done in 38 s, 82 % seen, 2 warnings"
    note: str = ""  # which model painted
    warnings: Sequence[str] = ()
    run: Run | None = None


@dataclass(frozen=True)
class Offer:
    """A run whose result waits, and what is amiss with what it is for."""

    run: Run
    amiss: str = ""

    @property
    def text(self) -> str:
        """What there is to say of it."""
        if self.run.state == runs.BEGUN:
            return f"{self.run.title!r} was not done when Blender ended"
        return self.amiss or f"{self.run.title!r} is done"


current: Job | None = None
waiting: str = ""  # what the artist must do before a result that is there can be used
last_error: str = ""
last_code: str = ""  # of an error that a job ended with; empty if it did not even start
last_task: str = ""  # which the error or the outcome is of
last_about: str = ""  # which settings the error is of; empty if of none
outcome: Outcome | None = None
_result: Result | None = None
_run: Run | None = None
engine_error: str = ""  # why the engine did not start without a job
_starting: Generator[None, None, Client] | None = None
_offers: list[Offer] | None = None  # None: to be looked for
_histories: dict[str, list[Run]] = {}  # of objects, by their names
_seconds: dict[tuple[str, str], float | None] = {}  # of a task at a quality
_drawn: object = None  # what our panels showed last


def is_running() -> bool:
    return current is not None


def temporary_folder() -> Path:
    """A new folder for a run, which stays until the run matters no more."""
    return runs.new_folder()


def start(request: Request, result: Result, about: str = "") -> None:
    """Begin a job; `about` says which settings it is of."""
    left = [run.job_id for run in runs.all_runs() if run.is_left_over and run.state == runs.BEGUN]
    after = tuple(job_id for job_id in left if job_id != request.job_id)
    run = Run(
        folder=str(request.folder),
        directory=str(request.directory),
        task=request.task,
        file=request.file,
        parameters=request.parameters,
        result=result.told(),
        also=request.also,
        images=request.images,
        sent=request.sent,
        job_id=request.job_id,
        blend=bpy.data.filepath,
    )
    run.save()
    _begin(Job(replace(request, after=after)), result, run, about)


def go_on(run: Run, program: str) -> None:
    """Go on with a run that was left over; asks for it again if the engine does not have it."""
    result = results.read(run.result)
    request = Request(
        program,
        run.task,
        run.parameters,
        {},
        Path(run.directory),
        run.file,
        keep_all=run.folder != run.directory,
        folder=Path(run.folder),
        also=run.also,
        images=run.images,
        job_id=run.job_id,
        sent=run.sent,
    )
    start(request, result)


def _begin(job: Job, result: Result, run: Run, about: str) -> None:
    global current, waiting, last_error, last_code, last_task, last_about, outcome, _result, _run
    _look_again()
    _result, _run = result, run
    waiting, last_error, last_code, outcome = "", "", "", None
    last_task, last_about = run.task, about
    current = job
    if not bpy.app.background:
        bpy.app.timers.register(_tick, first_interval=TICK_SECONDS, persistent=True)


def wait() -> str:
    """Advance the job until it ends and use its result; return the error, or nothing."""
    shown = ""
    try:
        while current is not None and _pump(current):
            if current.stage != shown:
                shown = current.stage
                log.info(shown)
            time.sleep(0.0 if current.has_work else TICK_SECONDS)
        _finish()
    finally:
        cancel()  # after Ctrl-C, or a mistake of ours; else there is nothing left
    return last_error


def cancel() -> None:
    """Stop the job, if any; a result that waits for a mode is thrown away."""
    global current, waiting, _run
    job, current = current, None
    run, _run = _run, None
    waiting = ""
    if job is not None:
        job.cancel()
        if run is not None:
            run.forget()
    _redraw()


def leave() -> None:
    """Let the job be: it is offered again when Blender is back."""
    global current, _run
    current = _run = None


def fail(task: str, message: str, about: str = "", code: str = "") -> None:
    """Keep what is wrong with a job that did not even start, for the panel."""
    global last_error, last_code, last_task, last_about, outcome
    last_error, last_code, outcome = message, code, None
    last_task, last_about = task, about


def use_now() -> None:
    """Use a result that waits, if what it waits for has been done."""
    if current is not None and waiting:
        _tick()


def offers() -> list[Offer]:
    """The results that wait for objects of this file, or as new images; looked for once a file."""
    global _offers
    if _offers is None and not _edits():
        _offers = list(_found())
    return _offers or []


def history(obj: bpy.types.Object) -> list[Run]:
    """The runs whose results an object had, the newest first; looked for once a file and run."""
    if obj.name not in _histories and not _edits():
        _histories[obj.name] = [run for run in runs.all_runs() if _was_on(obj, run)]
    return _histories.get(obj.name, [])


def usual_seconds(task: str, quality: str) -> float | None:
    """The median time of the last runs of a task at a quality, if there were any here."""
    key = task, quality
    if key not in _seconds:
        took = [
            run.seconds
            for run in runs.all_runs()
            if run.task == task and run.seconds and run.parameters.get("quality") == quality
        ]
        _seconds[key] = statistics.median(took[:FEW]) if took else None
    return _seconds[key]


def use(run: Run, *, anyway: bool = False) -> str:
    """Use the result of a run again; return what went wrong in one sentence, or nothing."""
    global last_error, last_task, outcome
    _look_again()
    result = results.read(run.result)
    results.leave_mode(bpy.context)
    error = "" if anyway else result.amiss()
    error = error or result.apply(Path(run.directory) / run.file, anyway=anyway)
    if not error:
        run.state = runs.APPLIED
        run.save()
        last_error, last_task, outcome = "", run.task, _outcome(run, [])
        _keep(run)
    return error


def _keep(run: Run) -> None:
    """Keep what history shows: a new image is in the file already."""
    if run.result["kind"] == "image":
        run.forget()
    runs.prune()


def start_engine(program: str) -> None:
    """Start the engine before there is a job for it; `engine_error` says if that went wrong."""
    global engine_error, _starting
    engine_error, _starting = "", engine.reach(program)
    if not bpy.app.background:
        bpy.app.timers.register(_tick_engine, first_interval=TICK_SECONDS, persistent=True)


def is_starting() -> bool:
    """Whether an engine is being started for no job yet."""
    return _starting is not None


def _tick_engine() -> float | None:
    global engine_error, _starting
    try:
        if _starting is not None:
            next(_starting)
            return TICK_SECONDS
    except StopIteration:
        pass
    except EngineError as error:
        engine_error = str(error)
    _starting = None
    _redraw()
    return None


def forget(run: Run) -> None:
    """Throw a run and its result away."""
    global outcome
    _look_again()
    if outcome is not None and outcome.run is not None and outcome.run.folder == run.folder:
        outcome = None
    run.forget()


def _edits() -> bool:
    """Whether meshes are being edited, so that their content cannot be looked at."""
    return any(obj.mode == "EDIT" for obj in bpy.context.view_layer.objects if obj.type == "MESH")


def _was_on(obj: bpy.types.Object, run: Run) -> bool:
    if run.state != runs.APPLIED or run.result.get("kind") != "objects":
        return False
    try:
        result = results.read(run.result)
    except (ValueError, KeyError, TypeError):
        return False
    return result.is_here() and obj in [target.find() for target in result.targets]


def _found() -> list[Offer]:
    found = []
    for run in runs.all_runs():
        if not run.is_left_over or (_run is not None and run.folder == _run.folder):
            continue
        try:
            result = results.read(run.result)
        except (ValueError, KeyError, TypeError):
            continue
        elsewhere = run.blend and bpy.data.filepath and run.blend != bpy.data.filepath
        if not elsewhere and result.is_here():
            found.append(Offer(run, result.amiss() if run.state == runs.DONE else ""))
    return found


def _pump(job: Job) -> bool:
    """Advance the job and write down what the engine calls it."""
    again = job.pump()
    if _run is not None and job.job_id != _run.job_id:
        _run.job_id, _run.sent = job.job_id, dict(job.sent)
        _run.save()
    return again


def _tick() -> float | None:
    if current is None:
        return None
    again = False
    try:
        again = (not waiting and _pump(current)) or _must_wait(current)
        if not again:
            _finish()
    finally:
        if again:
            _redraw()
        else:
            cancel()
    if not again or current is None:
        return None
    return TICK_SECONDS / 10 if current.has_work else TICK_SECONDS


def _must_wait(job: Job) -> bool:
    global waiting
    assert _result is not None
    waiting = "" if job.error else _result.waiting()
    if waiting:
        job.stage = waiting
    return bool(waiting)


def _finish() -> None:
    global current, last_error, last_code, outcome, _run
    job, current = current, None
    run, _run = _run, None
    if job is None or run is None:
        last_error, last_code = "Cancelled.", "cancelled"
    elif job.error:
        last_error, last_code = job.error, job.code
        run.forget()
    else:
        run.state, run.seconds = runs.DONE, time.monotonic() - job.began
        run.save()
        last_error = _apply(job.request.directory / job.request.file)
        if not last_error:
            run.state = runs.APPLIED
            run.save()
            outcome = _outcome(run, job.notices)
            _keep(run)
        elif _result is not None and not _result.amiss():  # it would go wrong again
            run.forget()
    _look_again()


def _outcome(run: Run, notices: Sequence[str]) -> Outcome:
    folder = Path(run.directory)
    warnings = [*report.warnings_of(folder), *notices]
    seen = report.seen(folder)
    parts = [f"Done in {in_words(run.seconds)}"]
    parts += [] if seen is None else [f"{seen:.0%} seen".replace("%", " %")]
    parts += [f"{len(warnings)} warning{'s' * (len(warnings) > 1)}"] if warnings else []
    return Outcome(", ".join(parts), report.painted_by(folder, run.images), warnings, run)


def _apply(filepath: Path) -> str:
    assert _result is not None
    return _result.apply(filepath)


def _redraw() -> None:
    """Draw our tab again, if something that it shows has changed; nothing else of the window."""
    global _drawn
    job = current
    shown = job and (job.text, round(job.fraction, 3), job.preview), is_starting(), engine_error
    if shown == _drawn:
        return
    _drawn = shown
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            for region in area.regions if area.type in AREAS else ():
                if region.type == "UI" and region.active_panel_category == TAB:
                    region.tag_redraw()


@persistent
def _look_again(*_: object) -> None:
    """Another file, or another run, has other offers and histories."""
    global _offers
    _offers = None
    _histories.clear()
    _seconds.clear()


def register() -> None:
    """Timers come with jobs; offers with files."""
    bpy.app.handlers.load_post.append(_look_again)


def unregister() -> None:
    """Leave no job, timer or engine behind."""
    global last_error, outcome
    global engine_error, _starting
    leave()
    last_error, outcome, engine_error, _starting = "", None, "", None
    bpy.app.handlers.load_post.remove(_look_again)
    for tick in (_tick, _tick_engine):
        if bpy.app.timers.is_registered(tick):
            bpy.app.timers.unregister(tick)
    engine.stop()
