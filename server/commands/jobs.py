# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde submit`, `jobs`, `cancel` and `result`: a running engine, from the command line."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from syncsde_client import protocol
from syncsde_client.client import Client, EngineError, find_engine
from syncsde_client.protocol import Job, JobRequest, JobState
from syncsde_engine import output
from syncsde_engine.cli import CANCELLED, read_inputs
from syncsde_engine.cli.console import Console, Progress, Watcher
from syncsde_engine.cli.flags import Parser, add_task, parameters, whole
from syncsde_engine.config import CONFIGS
from syncsde_engine.errors import InvalidRequest, SyncSDEError

OWNER = "cli"  # of all jobs that come from command lines
POLL = 20.0  # seconds that the engine may wait before it says that nothing is new
PATIENCE = 120.0  # seconds without an engine after which a job is not followed any more


class EngineSaid(SyncSDEError):
    """An error of the engine, as the command line reports its own."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.message, hint=error.hint, field=error.field)
        self.code = error.code
        self.exit_code = protocol.EXIT_CODES.get(error.code, 1)


def submit(argv: Sequence[str]) -> int:
    """Queue a job, and with --output wait for it and fetch its files."""
    main = Parser(prog="syncsde submit", description="Give a job to a running engine.")
    tasks = main.add_subparsers(metavar="TASK", required=True, title="tasks")
    for task in CONFIGS:
        command = tasks.add_parser(task, add_help=False, help=f"as syncsde {task}")
        command.set_defaults(task=task)
        add_task(command, task)
        command.usage = f"{command.usage}".replace("--output DIR ", "")
        queue = command.add_argument_group("queue")
        queue.add_argument("--priority", type=whole, default=0, metavar="N", help="-100 to 100")
        queue.add_argument("--key", help="requests with the same key are one job")
        queue.add_argument("--output", type=Path, metavar="DIR", help="wait, and write the files")
        queue.add_argument("-h", "--help", action="help", help="show this and leave")
        _add_engine(queue)
    options = main.parse_args(argv)
    console, asked = Console(options.json), parameters(options.task, options)
    _, contents = read_inputs(options)
    with _engine(options) as engine:
        inputs = {name: engine.put_blob(content) for name, content in contents.items()}
        key = getattr(options, "key", None)
        request = JobRequest(options.task, asked, inputs, key, options.priority)
        job = engine.submit(request)
        console.event("submitted", job=job.id, state=job.state)
        if "output" not in options:
            console.say(job.id)
            return 0
        return _fetch(options, engine, job.id, console)


def jobs(argv: Sequence[str]) -> int:
    """List the jobs of the engine, latest first."""
    command = Parser(prog="syncsde jobs", description="List the jobs of a running engine.")
    command.add_argument("--mine", action="store_true", default=False, help="of command lines only")
    _add_engine(command)
    options = command.parse_args(argv)
    with _engine(options) as engine:
        found, trouble = engine.jobs(mine=options.mine), engine.status().get("trouble")
    if trouble:
        print(f"syncsde: {trouble}", file=sys.stderr)
    for job in found:
        if options.json:
            print(json.dumps(asdict(job)))
        else:
            print(_line(job))
    return 0


def cancel(argv: Sequence[str]) -> int:
    """Cancel jobs by their ids, or all that came from command lines."""
    command = Parser(prog="syncsde cancel", description="Cancel jobs of a running engine.")
    command.add_argument("job", nargs="*", default=[], help="an id, or enough of its beginning")
    command.add_argument(
        "--all", action="store_true", default=False, help="all that came from command lines"
    )
    _add_engine(command)
    options = command.parse_args(argv)
    console = Console(options.json)
    if options.all == bool(options.job):
        raise InvalidRequest("Name the jobs to cancel, or say --all.", field="job")
    with _engine(options) as engine:
        ids = engine.cancel_mine() if options.all else []
        for each in options.job:
            job = engine.job(_find(engine, each))
            if job.state.ended:
                console.event("ended", job=job.id, state=job.state)
                console.say(f"{job.id} had ended already: {job.state}")
            else:
                ids.append(engine.cancel(job.id).id)
    for each in ids:
        console.event("cancelled", job=each)
        console.say(f"{each} cancelled")
    return 0


def results(argv: Sequence[str]) -> int:
    """List the results that the engine keeps, or delete some."""
    command = Parser(prog="syncsde results", description="What a running engine keeps.")
    command.add_argument(
        "--delete",
        nargs="+",
        default=[],
        metavar="ID",
        help="forget these jobs and delete their files; enough of the beginning of an id will do",
    )
    _add_engine(command)
    options = command.parse_args(argv)
    console = Console(options.json)
    with _engine(options) as engine:
        for each in [_find(engine, beginning) for beginning in options.delete]:
            engine.forget(each)
            console.event("deleted", job=each)
            console.say(f"{each} deleted")
        found = [] if options.delete else [job for job in engine.jobs() if job.result]
    for job in found:
        size = sum(file["size"] for file in (job.result or {}).values())
        console.event("result", job=job.id, bytes=size)
        console.say(f"{size / 1e6:8.1f} MB  {_line(job)}")
    return 0


def result(argv: Sequence[str]) -> int:
    """Wait for a job and write its files."""
    command = Parser(prog="syncsde result", description="Fetch the files of a job.")
    command.add_argument("job", help="its id, or enough of its beginning")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="result folder")
    _add_engine(command)
    options = command.parse_args(argv)
    console = Console(options.json)
    with _engine(options) as engine:
        return _fetch(options, engine, _find(engine, options.job), console)


def _fetch(options: argparse.Namespace, engine: Client, job_id: str, console: Console) -> int:
    """Wait for a job and write its files; when that is interrupted, the job goes on."""
    try:
        with console.showing() as show:
            engine = _follow(options, engine, job_id, console, show)
    except KeyboardInterrupt:
        console.event("left", job=job_id)
        console.say(
            f"Job {job_id} goes on: fetch it with syncsde result {job_id[:12]} --output DIR, "
            f"or end it with syncsde cancel {job_id[:12]}."
        )
        return CANCELLED
    return _write(engine, engine.job(job_id), options.output, console)


def _add_engine(command: argparse._ActionsContainer) -> None:
    command.add_argument(
        "--state-dir", type=Path, default=None, metavar="DIR", help="the engine's folder"
    )
    command.add_argument(
        "--json", action="store_true", default=False, help="one JSON object a line"
    )


@contextlib.contextmanager
def _engine(options: argparse.Namespace) -> Iterator[Client]:
    """Reach the engine; whatever it refuses is an error of this command. Raises EngineSaid."""
    folder = _folder(options)
    try:
        engine = find_engine(folder, OWNER)
        if engine is None:
            raise EngineError(
                "not_running", f"No engine runs on {folder}.", "Start one: syncsde serve --stay"
            )
        yield engine
    except EngineError as error:
        raise EngineSaid(error) from None


def _folder(options: argparse.Namespace) -> Path:
    return options.state_dir or protocol.state_dir()


def _find(engine: Client, beginning: str) -> str:
    """The id that begins so. Raises EngineError if none does, or several."""
    if len(beginning) == 32:
        return beginning
    found = [job.id for job in engine.jobs() if job.id.startswith(beginning)]
    if len(found) != 1:
        raise EngineError(
            "not_found",
            f"{len(found) or 'No'} jobs have an id that begins with {beginning!r}.",
            "Take one from syncsde jobs.",
        )
    return found[0]


def _follow(
    options: argparse.Namespace, engine: Client, job_id: str, console: Console, show: Watcher
) -> Client:
    """Show what happens until the job has ended; return the engine, which may be a new one.

    One that is gone, and with it nothing, is waited for as long as PATIENCE.
    """
    after, ended, heard = 0, False, time.monotonic()
    while not ended:
        try:
            events = engine.events(job_id, after, wait=POLL)
        except EngineError as error:
            if error.code != "unreachable" or time.monotonic() - heard > PATIENCE:
                raise
            time.sleep(1.0)
            engine = find_engine(_folder(options), OWNER) or engine
            continue
        heard = time.monotonic()
        for event in events:
            after = event.number
            console.event(event.type, job=job_id, **event.data)
            if event.type == "progress" and not console.as_json:
                show(Progress(*(event.data[name] for name in ("stage", "step", "total"))))
            if event.type == "notice":
                console.say(event.data["message"])
            ended = event.type == "state" and JobState(event.data["state"]).ended
    return engine


def _write(engine: Client, job: Job, folder: Path, console: Console) -> int:
    if job.state == JobState.CANCELLED:
        raise EngineError("cancelled", "The job was cancelled.")
    files = engine.files(job)
    with output.staging(folder) as stage:
        for name, content in files.items():
            stage.add(name, content)
        output.publish([stage])
    console.event("done", job=job.id, output=str(folder))
    console.say(f"{folder}: {', '.join(files)}")
    return 0


def _line(job: Job) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    more = ""
    if job.place is not None:
        more = f"place {job.place}"
        more += "" if job.wait is None else f", in about {job.wait:.0f} s"
    elif job.error is not None:
        more = job.error["message"]
    return f"{job.id[:12]}  {when}  {job.task:10} {job.state:10} {more}".rstrip()
