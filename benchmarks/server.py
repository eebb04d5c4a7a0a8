# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine process adds to the work itself.

    .venv/bin/python benchmarks/server.py [--seconds 20]

A job that only waits stands for the network, so that the figures are the engine's own: the time of
a served job over the same job in this process, the time from a click to the first event, from a
cancel to its end, from a killed engine to a new one that is ready, and what 16 concurrent submits
with one key make. A preview is compared with a step of mini. Medians.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the tests' small tasks

from syncsde_client.protocol import JobRequest
from syncsde_engine.request import build
from syncsde_engine.tasks import run
from tests.server.counting_engine import WalkConfig, walk
from tests.server.running import Engine, start, wait_until


def served_over_direct(engine: Engine, seconds: float, steps: int = 50) -> float:
    """A job of so many seconds, with a checkpoint in each of its 50 steps."""
    asked = {"steps": steps, "sleep": seconds / steps}
    begin = time.perf_counter()
    for _ in walk(WalkConfig(**asked), {}):
        pass
    direct = time.perf_counter() - begin
    begin = time.perf_counter()
    engine.client.finish(engine.walk(**asked).id)
    return (time.perf_counter() - begin) / direct


def click_to_first_event(engine: Engine) -> float:
    begin = time.perf_counter()
    job = engine.walk(steps=1)
    engine.client.events(job.id, wait=10)
    seconds = time.perf_counter() - begin
    engine.client.finish(job.id)
    return seconds


def click_to_running(engine: Engine) -> float:
    begin = time.perf_counter()
    job = engine.walk(steps=1)
    engine.client.events(job.id, after=1, wait=10)
    seconds = time.perf_counter() - begin
    engine.client.finish(job.id)
    return seconds


def cancel_to_end(engine: Engine, step: float = 0.2) -> float:
    """Seconds beyond the step that the job is in."""
    job = engine.walk(steps=500, sleep=step)
    engine.step(job, 1)
    begin = time.perf_counter()
    engine.client.cancel(job.id)
    engine.client.finish(job.id)
    return time.perf_counter() - begin - step


def kill_to_ready(engine: Engine) -> tuple[float, Engine]:
    os.kill(engine.process.pid, signal.SIGKILL)
    engine.process.wait()
    begin = time.perf_counter()
    again = start(engine.folder)
    return time.perf_counter() - begin, again


def jobs_of_one_key(engine: Engine, submits: int = 16) -> int:
    key, found = uuid.uuid4().hex, set()

    def submit() -> None:
        found.add(engine.client.submit(JobRequest("walk", {"nonce": key}, key=key)).id)

    threads = [threading.Thread(target=submit) for _ in range(submits)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(found)


def preview_over_step() -> float:
    asked = {"prompt": "mountains at sunset", "width": 512, "steps": 6}
    steps, previews, begin = [], [], time.process_time()
    for progress in run("wide", build("wide", asked), {}):
        if progress.preview is not None:
            steps.append(time.process_time() - begin)
            middle = time.process_time()
            progress.preview()
            previews.append(time.process_time() - middle)
        begin = time.process_time()
    return median(previews[1:]) / median(steps[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        engine = start(Path(folder) / "state")
        wait_until(lambda: engine.client.status()["worker"] == "ready")
        click_to_first_event(engine)
        clicks = median(click_to_first_event(engine) for _ in range(20))
        print(f"click to first event   {clicks:.4f} s")
        running = median(click_to_running(engine) for _ in range(20))
        print(f"click to running       {running:.4f} s")
        print(f"cancel beyond its step {median(cancel_to_end(engine) for _ in range(5)):.3f} s")
        print(f"jobs of one key        {jobs_of_one_key(engine)}")
        print(f"served / direct        {served_over_direct(engine, seconds):.4f}")
        ready, engine = kill_to_ready(engine)
        print(f"kill -9 to ready       {ready:.2f} s")
        engine.end()
    print(f"preview / step         {preview_over_step():.4f}")


if __name__ == "__main__":
    main()
