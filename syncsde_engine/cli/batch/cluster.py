# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch on a Ray cluster: one actor for each GPU, or for as many cores as torch has threads here.

Results go to the folder of the batch, which all nodes have to see. What is lost with a worker or a
node is made again elsewhere; what is wrong with an asset is not tried again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__, plugins
from ...errors import DeviceUnavailable, InvalidRequest, SyncSDEError
from ..console import Console
from . import records
from .assets import Asset
from .work import MOST_TRIES, Ended, Record, Work

if TYPE_CHECKING:
    from types import ModuleType

OLDEST = (2, 52)  # before it, pages of any web site could run code through its dashboard
PATIENCE = 180.0  # seconds without a living actor


class Maker:
    """What one actor does; it keeps its model."""

    def __init__(self, threads: int, version: str, folder: Path, **how: Any) -> None:
        import torch

        if version != __version__:
            raise InvalidRequest(
                f"A node has SyncSDE {__version__}, and the batch is of {version}.",
                hint="Install the same version everywhere.",
                field="executor",
            )
        plugins.load()
        torch.set_num_threads(threads)  # Ray has another number, and sums would round otherwise
        self.folder, self.how = folder, how

    def ready(self) -> None:
        """Answer, once the actor has a place."""

    def make(self, asset: Asset) -> tuple[Ended, Record]:
        return Work([asset], self.folder, Console(False), **self.how).one(asset)


def run(work: Work) -> None:
    """Make the assets of `work` on the cluster that RAY_ADDRESS names, or on this machine's.

    The first Ctrl-C waits for the assets at hand, a second one ends it at once. Raises
    DeviceUnavailable without Ray or a cluster, and InvalidRequest for a folder that is not shared.
    """
    with _connected() as ray, work.listening():
        Driver(ray, work).run()


class Driver:
    """Gives each actor one asset at a time, and replaces actors that are lost."""

    def __init__(self, ray: ModuleType, work: Work) -> None:
        import torch

        self.ray, self.work = ray, work
        self.folder = work.folder.absolute()
        threads, there = torch.get_num_threads(), ray.cluster_resources()
        gpus, cores = int(there.get("GPU", 0)), int(there.get("CPU", 0))
        needs = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": threads}
        self.count = gpus or cores // threads
        if not self.count:
            raise DeviceUnavailable(
                f"No node of the cluster has {threads} cores for the {threads} threads of torch.",
                hint="Set OMP_NUM_THREADS lower.",
                field="executor",
            )
        how = {"resume": work.resume, "retry_failed": work.retry_failed}
        kind = ray.remote(Maker).options(**needs)
        self.actor = lambda: kind.remote(threads, __version__, self.folder, **how)
        self.starting: dict[Any, Any] = {}  # reference to an answer: actor
        self.busy: dict[Any, tuple[Any, Asset]] = {}
        self.idle: list[Any] = []
        self.queue = deque(shared(asset) for asset in work.assets)
        self.lost: Counter[str] = Counter()  # actors, by the asset they had

    def run(self) -> None:
        self.work.look()
        for _ in range(min(self.count, len(self.queue))):
            self._start()
        heard = time.monotonic()
        while self.queue or self.busy:
            if self.work.is_ending:
                self.queue.clear()
            while self.idle and self.queue:
                actor, asset = self.idle.pop(), self.queue.popleft()
                self.busy[actor.make.remote(asset)] = actor, asset
            waited = [*self.starting, *self.busy]
            done, _ = self.ray.wait(waited, timeout=1.0) if waited else ([], [])
            for answer in done:
                heard = time.monotonic()
                self._started(answer) if answer in self.starting else self._made(answer)
            if not self.busy and time.monotonic() - heard > PATIENCE:
                raise DeviceUnavailable(
                    f"No node of the cluster has taken work for {PATIENCE:.0f} s.",
                    hint="Look at it with ray status, and go on with --resume.",
                    field="executor",
                )

    def _start(self) -> None:
        actor = self.actor()
        self.starting[actor.ready.remote()] = actor

    def _started(self, answer: Any) -> None:
        actor = self.starting.pop(answer)
        try:
            self._get(answer)
        except self.ray.exceptions.RayActorError:
            self._start()
        else:
            self.idle.append(actor)

    def _made(self, answer: Any) -> None:
        actor, asset = self.busy.pop(answer)
        try:
            ended, record = self._get(answer)
        except self.ray.exceptions.RayActorError:
            self._start()
            self._again(asset)
            return
        self.idle.append(actor)
        if records.read(self.folder / asset.output) is None:
            raise InvalidRequest(
                f"A node has made {asset.id!r}, and it is not in {str(self.folder)!r} here.",
                hint="Name a folder that all nodes see.",
                field="output",
            )
        self.work.note(asset, ended, record)

    def _again(self, asset: Asset) -> None:
        """Make an asset elsewhere, unless it is what ends the actors."""
        self.lost[asset.id] += 1
        if self.lost[asset.id] < MOST_TRIES:
            self.queue.appendleft(asset)
            return
        error = SyncSDEError(
            f"{MOST_TRIES} workers were lost in a row while they made this asset.",
            hint="Run it alone and look at what the system says.",
        )
        started = Record(id=asset.id, task=asset.task, state="started", spec=asset.spec)
        failed = records.failed(started, error, 0.0)
        records.write(self.folder / asset.output, failed)
        self.work.note(asset, "failed", failed)

    def _get(self, answer: Any) -> Any:
        """An answer; what was raised elsewhere is raised here. Raises RayActorError, too."""
        try:
            return self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None


def shared(asset: Asset) -> Asset:
    """As other machines find it."""
    paths = {name: path.absolute() for name, path in asset.paths.items()}
    return dataclasses.replace(asset, paths=paths)


@contextlib.contextmanager
def _connected() -> Iterator[ModuleType]:
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.exceptions  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DeviceUnavailable(
            "Ray is not installed.", hint="pip install 'syncsde[cluster]'", field="executor"
        ) from None
    if tuple(int(part) for part in ray.__version__.split(".")[:2]) < OLDEST:
        raise DeviceUnavailable(
            f"Ray {ray.__version__} lets web pages run code on the cluster (CVE-2025-62593).",
            hint="Install the pinned one: pip install 'syncsde[cluster]'",
            field="executor",
        )
    try:
        ray.init(os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DeviceUnavailable(
            f"There is no Ray cluster: {str(error).splitlines()[0]}",
            hint="Start one with ray start --head, or name one in RAY_ADDRESS.",
            field="executor",
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()
