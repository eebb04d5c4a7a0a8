# SPDX-License-Identifier: GPL-3.0-or-later
"""Random lives of a job table against a model in a few lines: submit, claim, crash, restart."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from syncsde_client.protocol import JobRequest
from syncsde_server.store.jobs import Jobs

ERROR = {"code": "worker_crashed", "message": "gone", "hint": "", "field": None}
RESULT = {"a.png": {"sha256": "1" * 64, "size": 1}}
OWNERS = st.sampled_from(["me", "you", None])


@dataclass
class Known:
    """What we know of a job without looking."""

    owner: str | None
    priority: int
    state: str = "queued"
    attempts: int = 0
    cancel: bool = False
    history: list[str] = field(default_factory=lambda: ["queued"])

    def become(self, state: str) -> None:
        self.state = state
        self.history.append(state)

    def wait(self, state: str) -> None:
        self.become("cancelled" if self.cancel else state)


class JobTable(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "jobs.sqlite"
        self.jobs = Jobs(self.path)
        self.known: dict[str, Known] = {}
        self.order: list[str] = []  # of those that may be queued, in their turn
        self.keys: dict[str, str] = {}

    def teardown(self) -> None:
        if hasattr(self, "jobs"):
            self.jobs.close()
            self.folder.cleanup()

    def queue(self) -> list[str]:
        waiting = [each for each in self.order if self.known[each].state == "queued"]
        return sorted(waiting, key=lambda each: -self.known[each].priority)

    def running(self) -> str | None:
        found = [each for each, job in self.known.items() if job.state == "running"]
        assert len(found) <= 1
        return found[0] if found else None

    @rule(owner=OWNERS, priority=st.integers(-2, 2), key=st.sampled_from([None, "a", "b"]))
    def submit(self, owner, priority, key):
        job, is_new = self.jobs.submit(JobRequest("count", {}, {}, key, priority), owner=owner)
        assert is_new == (key not in self.keys)
        if is_new:
            self.known[job.id] = Known(owner, priority)
            self.order.append(job.id)
            if key is not None:
                self.keys[key] = job.id
        else:
            assert job.id == self.keys[key]

    @rule()
    def claim(self):
        if self.running() is None:
            expected, claim = self.queue(), self.jobs.claim()
            assert (claim is None) == (not expected)
            if claim is not None:
                assert claim.id == expected[0]
                job = self.known[claim.id]
                job.attempts += 1
                assert claim.attempt == job.attempts
                job.become("running")

    def goes_first(self, job: str) -> None:
        """What was begun goes on before all others of its priority."""
        self.order.remove(job)
        self.order.insert(0, job)

    @precondition(lambda self: self.running())
    @rule(state=st.sampled_from(["done", "failed"]))
    def end(self, state):
        job = self.running()
        self.jobs.end(job, state, result=RESULT if state == "done" else None, error=ERROR)
        self.known[job].become(state)

    @precondition(lambda self: self.running())
    @rule(pause=st.booleans())
    def crash(self, pause):
        job = self.running()
        self.jobs.interrupted(job, ERROR, pause=pause)
        if pause:  # no fault of the job
            self.known[job].attempts -= 1
            self.known[job].wait("paused")
            self.goes_first(job)
        else:
            self._interrupted(job, "queued")

    @precondition(lambda self: self.running())
    @rule()
    def leave(self):
        job = self.running()
        self.jobs.released(job)
        self.known[job].attempts -= 1
        self.known[job].wait("queued")
        self.goes_first(job)

    @rule()
    def room_again(self):
        self.jobs.resume_paused()
        for job in reversed([each for each in self.order if self.known[each].state == "paused"]):
            self.known[job].wait("queued")
            self.goes_first(job)

    @rule()
    def restart(self):
        self.jobs.close()
        self.jobs = Jobs(self.path)
        running = self.running()
        self.jobs.recover(ERROR)
        if running is not None:
            self._interrupted(running, "queued")

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data):
        job = data.draw(st.sampled_from(list(self.known)))
        self.jobs.ask_cancel(job)
        self._cancelled(self.known[job])

    @rule(owner=OWNERS)
    def cancel_all(self, owner):
        self.jobs.ask_cancel_all(owner)
        for job in self.known.values():
            if job.owner == owner:
                self._cancelled(job)

    @precondition(lambda self: len(self.queue()) > 1)
    @rule(data=st.data())
    def move_before(self, data):
        job, other = data.draw(st.permutations(self.queue()))[:2]
        self.jobs.move(job, before=other)
        self.known[job].priority = self.known[other].priority
        # New turns are given in the order of the whole queue.
        queue = [each for each in self.queue() if each != job]
        queue.insert(queue.index(other), job)
        rest = [each for each in self.order if each not in queue]
        self.order = queue + rest

    @invariant()
    def the_table_is_as_known(self):
        if not hasattr(self, "jobs"):
            return
        found = {job.id: job for job in self.jobs.newest(1000)}
        assert set(found) == set(self.known)
        for each, job in self.known.items():
            assert found[each].state == job.state
            assert found[each].attempts == job.attempts
            events = self.jobs.events(each)
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            told = [event.data["state"] for event in events if event.type == "state"]
            assert told == job.history
            assert (found[each].result is None) == (job.state != "done")
        places = {each: found[each].place for each in found if found[each].place}
        assert sorted(places, key=lambda each: places[each]) == self.queue()

    def _interrupted(self, name: str, state: str) -> None:
        self.known[name].wait(state)
        self.goes_first(name)

    def _cancelled(self, job: Known) -> None:
        if job.state in ("queued", "paused"):
            job.become("cancelled")
        elif job.state == "running":
            job.cancel = True


TestJobTable = JobTable.TestCase
TestJobTable.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, derandomize=True
)
