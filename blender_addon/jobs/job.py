# SPDX-License-Identifier: GPL-3.0-or-later
"""One job from start to files, advanced in short steps by whoever has time for it."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..client import engine, protocol
from ..client.client import Client, EngineError
from ..client.protocol import Event, JobRequest, JobState

log = logging.getLogger(__name__)

RESTARTS = 3  # without any news in between

# Stage -> (label, where it begins and ends on the whole bar).
TEXTURE_STAGES = {
    "load": ("Loading the Model", 0.02, 0.08),
    "geometry": ("Preparing the Mesh", 0.08, 0.12),
    "views": ("Painting the Views", 0.12, 0.90),
    "bake": ("Baking the Texture", 0.90, 0.97),
    "write": ("Writing the Files", 0.97, 1.00),
}
IMAGE_STAGES = {
    "load": ("Loading the Model", 0.02, 0.10),
    "views": ("Painting the Image", 0.10, 0.95),
    "write": ("Writing the Files", 0.95, 1.00),
}
GIVEN_IMAGE_STAGES = IMAGE_STAGES | {  # not every method of editing tunes
    "invert": ("Studying the Image", 0.10, 0.35),
    "tune": ("Tuning", 0.35, 0.50),
    "views": ("Painting the Image", 0.50, 0.95),
}
TWO_STAGES = IMAGE_STAGES | {  # of a model that begins small
    "views": ("Painting the Image", 0.10, 0.70),
    "upscale": ("Scaling Up", 0.70, 0.95),
}
MOTION_STAGES = {
    "load": ("Loading the Model", 0.02, 0.30),
    "views": ("Moving the Figure", 0.30, 0.80),
    "compare": ("Comparing", 0.80, 0.95),
    "write": ("Writing the Files", 0.95, 1.00),
}
STAGES = {
    "texture": TEXTURE_STAGES,
    "mask": IMAGE_STAGES,
    "edit": GIVEN_IMAGE_STAGES,
    "wide": IMAGE_STAGES,
    "ambiguous": TWO_STAGES,
    "motion": MOTION_STAGES,
}


# Makes a blob at once, or in slices between which Blender draws.
Content = Callable[[], bytes | Generator[None, None, bytes]]


@dataclass(frozen=True)
class Request:
    """What to do, with what, and where the files go."""

    program: str
    task: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Content]  # name -> makes the blob, once the engine is there
    directory: Path
    file: str  # the one of the result's files that is wanted
    keep_all: bool  # the others, too
    folder: Path  # of the run, ours alone: it is deleted with the run
    also: tuple[str, ...] = ()  # patterns of others that are wanted
    images: Mapping[str, str] = field(default_factory=dict)  # name of an input -> Blender's image
    job_id: str = ""  # of a job that the engine has, to go on with
    sent: Mapping[str, str] = field(default_factory=dict)  # its inputs, by their SHA-256
    after: tuple[str, ...] = ()  # jobs that nobody waits for: they must not go first


class Job:
    """Starts the engine, uploads, submits, follows and downloads; `pump` does the next step."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.stage = "Starting the Engine"
        self.fraction = 0.0
        self.error = ""
        self.code = ""  # of the error, as the engine has it
        self.cancelled = False
        self.has_work = False  # of its own to do, with nothing to wait for
        self.seconds_left: float | None = None  # of the stage
        self.preview = 0  # how many have come; the last is in the file of `preview_path`
        self.notices: list[str] = []
        self.job_id = ""  # what the engine calls it, once it has it
        self.sent: dict[str, str] = {}
        self.began = time.monotonic()
        self._client: Client | None = None
        self._preview_blob = ""
        self._steps = self._run()

    def pump(self) -> bool:
        """Do one short step; return whether there is more to do. `error` is set on failure."""
        try:
            next(self._steps)
            return True
        except StopIteration:
            return False
        except (EngineError, OSError) as error:
            self.error = str(error)
            self.code = error.code if isinstance(error, EngineError) else "unavailable"
            return False
        except Exception as error:  # whoever advances the job must hear that it ended
            log.exception("the job cannot go on")
            self.code = "internal"
            self.error = (
                f"Internal error of the add-on ({type(error).__name__}): "
                "Blender's console has the details."
            )
            return False

    @property
    def preview_path(self) -> Path:
        """The picture of what is being painted."""
        return self.request.folder / "preview.png"

    @property
    def text(self) -> str:
        """What it is doing, and how long that takes yet."""
        if self.seconds_left is None or self.seconds_left < 1:
            return self.stage
        return f"{self.stage}, {in_words(self.seconds_left)} left"

    def cancel(self) -> None:
        """Give up: asks the engine to stop; the next `pump` returns False."""
        self.cancelled = True
        self.error, self.code = "Cancelled.", "cancelled"
        self._steps.close()
        if self._client is not None and self.job_id:
            with contextlib.suppress(EngineError):  # it ended, or its engine did
                self._client.cancel(self.job_id)

    def _run(self) -> Generator[None, None, None]:
        yield
        self._client = yield from engine.reach(self.request.program)
        self._put_back()
        if not self._goes_on():
            self.stage = "Sending What Is Needed"
            yield from self._send()
            request = JobRequest(
                self.request.task, self.request.parameters, self.sent, key=uuid.uuid4().hex
            )
            self.job_id = self._client.submit(request).id
        self.stage = "Waiting for the Engine"
        yield from self._follow()
        yield from self._download()

    def _put_back(self) -> None:
        """Let the engine do this job before those that were left over when Blender ended.

        One that runs already is stopped; whoever wants it yet asks for it again.
        """
        assert self._client is not None
        for job_id in self.request.after:
            with contextlib.suppress(EngineError):  # the engine does not have it any more
                state = self._client.job(job_id).state
                if state == JobState.QUEUED:
                    self._client.move(job_id, priority=-protocol.MAX_PRIORITY)
                elif not state.ended:
                    self._client.cancel(job_id)

    def _goes_on(self) -> bool:
        """Whether the engine has the job that was asked for earlier."""
        assert self._client is not None
        if not self.request.job_id:
            return False
        try:
            job = self._client.job(self.request.job_id)
        except EngineError as error:
            if error.code != "not_found":
                raise
            return False
        if job.state in (JobState.CANCELLED, JobState.FAILED):
            return False
        if job.state == JobState.QUEUED:
            self._client.move(job.id, priority=0)
        self.job_id, self.sent = job.id, dict(self.request.sent)
        return True

    def _send(self) -> Generator[None, None, None]:
        assert self._client is not None
        self.sent = dict(self.request.sent)
        if not all(self._client.has_blob(sha256) for sha256 in self.sent.values()):
            raise EngineError(
                "not_found", "The engine has not kept what this run was asked with: generate again."
            )
        for name, content in self.request.inputs.items():
            yield
            made = content()
            if isinstance(made, Generator):  # long work, in slices
                self.has_work = True
                made = yield from made
                self.has_work = False
            try:
                self.sent[name] = self._client.put_blob(made)
            except EngineError as error:
                raise self._naming(error, name) from None

    def _follow(self) -> Generator[None, None, None]:
        """Read events until the job ends; an engine that went away is started again."""
        after, restarts, ended = 0, 0, False
        while not ended:
            yield
            assert self._client is not None
            try:
                events = self._client.events(self.job_id, after)
            except EngineError as error:
                if error.code != "unreachable" or restarts == RESTARTS:
                    raise
                restarts += 1
                self._client = yield from engine.reach(self.request.program)
                continue
            yield from self._fetch_preview()
            for event in events:
                after, restarts = event.number, 0
                try:
                    ended = self._note(event)
                except (KeyError, TypeError, ValueError) as error:
                    raise EngineError(
                        "bad_answer", f"The engine's progress makes no sense: {error!r}."
                    ) from None

    def _note(self, event: Event) -> bool:
        """Show an event; return whether it ends the job. Raises EngineError if it failed."""
        stages = STAGES[self.request.task]
        if "extend" in self.request.inputs:
            stages = GIVEN_IMAGE_STAGES
        if event.type == "progress" and event.data["stage"] in stages:
            label, begin, end = stages[event.data["stage"]]
            step, total = event.data["step"], event.data["total"]
            self.stage = f"{label} {step}/{total}" if total > 1 else label
            self.fraction = begin + (end - begin) * step / max(total, 1)
            self.seconds_left = event.data.get("seconds_left")
            self._preview_blob = event.data.get("preview") or self._preview_blob
        if event.type == "notice":
            self.notices.append(str(event.data["message"]))
        if (event.data.get("place") or 0) > 1:
            self.stage = f"Waiting for the Engine: Place {event.data['place']}"
        if event.type != "state":
            return False
        state = JobState(event.data["state"])
        if state == JobState.PAUSED:
            self.stage = "Paused: the Disk Is Full"
        if state == JobState.FAILED:
            error = event.data["error"]
            field = error.get("field") or ""
            told = EngineError(error["code"], error["message"], error.get("hint") or "", field)
            raise self._naming(told, field.removeprefix("inputs."))
        if state == JobState.CANCELLED:
            raise EngineError("cancelled", "The job was cancelled in the engine.")
        return state == JobState.DONE

    def _fetch_preview(self) -> Generator[None, None, None]:
        """Fetch the last picture of what is being painted; without it the job goes on, too."""
        blob, self._preview_blob = self._preview_blob, ""
        if not blob:
            return
        yield
        assert self._client is not None
        with contextlib.suppress(EngineError, OSError):
            content = self._client.get_blob(blob)
            self.preview_path.parent.mkdir(parents=True, exist_ok=True)
            self.preview_path.write_bytes(content)
            self.preview += 1

    def _naming(self, error: EngineError, name: str) -> EngineError:
        """Say in which of Blender's images it was that an input was found to be wrong."""
        image = self.request.images.get(name)
        if image is None or error.code != "invalid_request":
            return error
        return EngineError(error.code, f"{image!r}: {error.message}", error.hint, error.field)

    def _download(self) -> Generator[None, None, None]:
        assert self._client is not None
        self.stage, self.seconds_left = "Fetching the Result", None
        files = self._client.job(self.job_id).result or {}
        if self.request.file not in files:
            raise EngineError("bad_answer", f"The engine's result has no {self.request.file}.")
        for name in files:
            wanted = name == self.request.file or any(fnmatch(name, p) for p in self.request.also)
            if not wanted and not self.request.keep_all:
                continue
            yield
            _write(self.request.directory, name, self._client.get_blob(files[name]["sha256"]))
        self.fraction = 1.0


def in_words(seconds: float) -> str:
    """Such as "24 s" or "3 min"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _write(directory: Path, name: str, content: bytes) -> None:
    """Write a file all at once, inside the directory whatever its name says."""
    target = (directory / name).resolve()
    if not target.is_relative_to(directory.resolve()):
        raise EngineError("bad_answer", f"The engine's result has a file called {name!r}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    partial.write_bytes(content)
    protocol.replace(partial, target)
