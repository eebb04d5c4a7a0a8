# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs over HTTP: submitted, followed, cancelled, refused."""

from __future__ import annotations

import http.client
import json
import threading

import pytest

from syncsde_client.client import EngineError
from syncsde_client.protocol import JobRequest, JobState
from tests.server.running import packed


def post(engine, body: str | bytes, path: str = "/v1/jobs"):
    """Send any body at all; return the status and the decoded answer."""
    link = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)
    try:
        token = engine.client.connection.token
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        link.request("POST", path, body, headers)
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        link.close()


def read_stream(engine, job, last_event_id: int | None = None, stop_after: int | None = None):
    """Return the events of an event stream as (id, event, data), and the raw comment lines."""
    link = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=10)
    token = engine.client.connection.token
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    found = []
    try:
        link.request("GET", f"/v1/jobs/{job.id}/events", headers=headers)
        answer = link.getresponse()
        assert answer.getheader("Content-Type").startswith("text/event-stream")
        event: dict[str, str] = {}
        while line := answer.readline().decode():
            if line == "\n":
                found.append((int(event["id"]), event["event"], json.loads(event["data"])))
                event = {}
                if stop_after == len(found):
                    break
            else:
                name, _, value = line.rstrip("\n").partition(": ")
                event[name] = value
        return found
    finally:
        link.close()


def test_submit_events_result(engine):
    job = engine.finish(engine.count(steps=4, sleep=0.1, preview=True))
    assert job.state == JobState.DONE
    assert job.attempts == 1
    assert job.error is None
    assert job.result["count.txt"]["size"] == 1
    assert engine.client.get_blob(job.result["count.txt"]["sha256"]) == b"4"
    assert set(job.result) == {"count.txt", "views/00.png"}
    events = engine.client.events(job.id)
    assert [event.number for event in events] == list(range(1, job.last_event + 1))
    states = [event.data["state"] for event in events if event.type == "state"]
    assert states == ["queued", "running", "done"]
    steps = [event.data for event in events if event.type == "progress"]
    assert [(step["stage"], step["step"], step["total"]) for step in steps] == [
        ("count", number, 4) for number in (1, 2, 3, 4)
    ]
    assert [step["preview"] is None for step in steps] == [False, False, True, False]
    assert engine.client.get_blob(steps[3]["preview"]) == b"picture 3"
    assert steps[0]["seconds_left"] is None
    assert steps[1]["seconds_left"] >= steps[3]["seconds_left"] == 0
    assert engine.client.events(job.id, after=5) == events[5:]
    assert engine.client.jobs()[0] == job


def test_inputs(engine):
    data = engine.client.put_blob(packed(b"some bytes"))
    job = engine.finish(engine.client.submit(JobRequest("copy", {}, {"data": data})))
    assert job.result == {"data.bin": {"sha256": data, "size": len(packed(b"some bytes"))}}
    more = engine.client.put_blob(packed(b"and some more"))
    job = engine.finish(engine.client.submit(JobRequest("copy", {}, {"data": data, "more": more})))
    assert job.result["more.bin"] == {"sha256": more, "size": len(packed(b"and some more"))}
    with pytest.raises(EngineError) as raised:
        engine.client.submit(JobRequest("copy", {}, {"data": data, "more": "0" * 64}))
    assert (raised.value.code, raised.value.field) == ("missing_blob", "inputs.more")


def test_input_that_is_gone(engine):
    """Somebody cleaned up the folder while the job waited."""
    blocker = engine.count(steps=1000, sleep=0.05)
    data = engine.client.put_blob(packed(b"soon gone"))
    job = engine.client.submit(JobRequest("copy", {}, {"data": data}))
    (engine.folder / "blobs" / data).unlink()
    engine.client.cancel(blocker.id)
    job = engine.finish(job)
    assert (job.state, job.error["code"]) == (JobState.FAILED, "missing_blob")
    assert job.error["field"] == "inputs.data"


def test_jobs_wait_for_their_turn(engine):
    jobs = [engine.count(steps=2, sleep=0.01) for _ in range(5)]
    ended = [engine.finish(job) for job in jobs]
    assert all(job.state == JobState.DONE for job in ended)
    assert sorted(job.finished for job in ended) == [job.finished for job in ended]


def test_long_poll(engine):
    job = engine.count(steps=3, sleep=0.1)
    answer = engine.client._json("GET", f"/v1/jobs/{job.id}?wait=10")
    assert answer["state"] == "done"
    job = engine.count(steps=1000, sleep=0.1)
    answer = engine.client._json("GET", f"/v1/jobs/{job.id}?wait=0.3")
    assert answer["state"] == "running"
    engine.client.cancel(job.id)
    engine.finish(job)


def test_event_stream_goes_on_where_it_was_left(engine):
    job = engine.count(steps=20, sleep=0.02)
    first = read_stream(engine, job, stop_after=5)
    rest = read_stream(engine, job, last_event_id=first[-1][0])
    numbers = [number for number, _, _ in first + rest]
    assert numbers == list(range(1, 24))
    assert rest[-1][2]["data"]["state"] == "done"
    assert [data["number"] for _, _, data in rest] == numbers[5:]
    assert read_stream(engine, job, last_event_id=23) == []


def test_same_key_is_one_job(engine):
    first = engine.count(key="one", steps=2)
    assert engine.count(key="one", steps=2).id == first.id
    with pytest.raises(EngineError) as raised:
        engine.count(key="one", steps=3)
    assert raised.value.code == "conflict"
    assert raised.value.field == "key"


def test_same_key_at_the_same_time(engine):
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(engine.count(key="many").id))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1


def test_cancel_between_steps(engine):
    job = engine.count(steps=1000, sleep=0.05)
    engine.step(job, 2)
    worker = engine.worker
    engine.client.cancel(job.id)
    assert engine.finish(job).state == JobState.CANCELLED
    steps = [event.data["step"] for event in engine.client.events(job.id) if "step" in event.data]
    assert max(steps) < 1000
    assert engine.worker == worker
    assert engine.client.cancel(job.id).state == JobState.CANCELLED


def test_cancel_a_job_that_waits(engine):
    first = engine.count(steps=1000, sleep=0.05)
    second = engine.count()
    assert engine.client.cancel(second.id).state == JobState.CANCELLED
    engine.client.cancel(first.id)
    assert engine.finish(first).state == JobState.CANCELLED
    assert engine.client.job(second.id).attempts == 0


def test_cancel_a_job_that_is_done(engine):
    job = engine.finish(engine.count())
    assert engine.client.cancel(job.id) == job


@pytest.mark.parametrize(
    ("fault", "code"),
    [("invalid", "invalid_mesh"), ("raise", "internal"), ("memory", "out_of_memory")],
)
def test_failure_has_a_reason(engine, fault, code):
    job = engine.finish(engine.count(fault=fault))
    assert job.state == JobState.FAILED
    assert job.error["code"] == code
    assert set(job.error) == {"code", "message", "hint", "field"}
    assert engine.client.events(job.id)[-1].data["error"] == job.error
    assert engine.finish(engine.count()).state == JobState.DONE


def test_prints_of_libraries_do_no_harm(engine):
    assert engine.finish(engine.count(fault="print")).state == JobState.DONE


REFUSED = {
    "not json": ("{", 400, "invalid_json", None),
    "empty": ("", 400, "invalid_json", None),
    "not utf-8": (b'{"task": "\xff"}', 400, "invalid_json", None),
    "duplicate key": ('{"task": "count", "task": "copy"}', 400, "invalid_json", None),
    "duplicate key inside": (
        '{"task": "count", "parameters": {"steps": 1, "steps": 2}}',
        400,
        "invalid_json",
        None,
    ),
    "not a number": ('{"task": "count", "parameters": {"sleep": NaN}}', 400, "invalid_json", None),
    "deep": ("[" * 200_000, 400, "invalid_json", None),
    "long number": (
        '{"task": "count", "parameters": {"steps": ' + "9" * 5000 + "}}",
        400,
        "invalid_json",
        None,
    ),
    "array": ("[]", 422, "invalid_request", "body"),
    "unknown field": (
        '{"task": "count", "parameters": {}, "path": "/"}',
        422,
        "invalid_request",
        "path",
    ),
    "no parameters": ('{"task": "count"}', 422, "invalid_request", "parameters"),
    "unknown task": ('{"task": "rm", "parameters": {}}', 422, "invalid_request", "task"),
    "unknown parameter": (
        '{"task": "count", "parameters": {"stps": 1}}',
        422,
        "invalid_request",
        "stps",
    ),
    "name that the dataclass uses itself": (
        '{"task": "count", "parameters": {"__dataclass_self__": 1}}',
        422,
        "invalid_request",
        "__dataclass_self__",
    ),
    "bool for int": (
        '{"task": "count", "parameters": {"steps": true}}',
        422,
        "invalid_request",
        "steps",
    ),
    "text for int": (
        '{"task": "count", "parameters": {"steps": "1"}}',
        422,
        "invalid_request",
        "steps",
    ),
    "out of range": (
        '{"task": "count", "parameters": {"steps": 0}}',
        422,
        "invalid_request",
        "steps",
    ),
    "too large a number": (
        '{"task": "count", "parameters": {"sleep": 1e999}}',
        422,
        "invalid_request",
        "sleep",
    ),
    "missing input": ('{"task": "copy", "parameters": {}}', 422, "invalid_request", "inputs.data"),
    "unknown input": (
        '{"task": "count", "parameters": {}, "inputs": {"mesh": "' + "0" * 64 + '"}}',
        422,
        "invalid_request",
        "inputs.mesh",
    ),
    "only an optional input": (
        '{"task": "copy", "parameters": {}, "inputs": {"more": "' + "0" * 64 + '"}}',
        422,
        "invalid_request",
        "inputs.data",
    ),
    "input not uploaded": (
        '{"task": "copy", "parameters": {}, "inputs": {"data": "' + "0" * 64 + '"}}',
        409,
        "missing_blob",
        "inputs.data",
    ),
    "path as input": (
        '{"task": "copy", "parameters": {}, "inputs": {"data": "../../etc/passwd"}}',
        422,
        "invalid_request",
        "inputs.data",
    ),
    "bad key": (
        '{"task": "count", "parameters": {}, "key": "a/b"}',
        422,
        "invalid_request",
        "key",
    ),
}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"priority": 200}, "priority must be at most 100 (got 200)."),
        ({"priority": "high"}, "priority must be a whole number (got 'high')."),
        ({"inputs": []}, "inputs must be a JSON object (got [])."),
        ({"parameters": None}, "parameters must be a JSON object (got None)."),
        ({"key": "a/b"}, "key cannot be 'a/b'."),
        ({"color": "red"}, "There is no color."),
    ],
)
def test_a_refusal_names_the_value_and_what_is_wanted(engine, more, sentence):
    asked = {"task": "count", "parameters": {}, **more}
    assert post(engine, json.dumps(asked))[1]["message"] == sentence


@pytest.mark.parametrize("name", REFUSED)
def test_refused(engine, name):
    body, status, code, field = REFUSED[name]
    before = engine.client.status()["jobs"]
    found, error = post(engine, body)
    assert found == status
    assert set(error) == {"code", "message", "hint", "field"}
    assert (error["code"], error["field"]) == (code, field)
    assert engine.client.status()["jobs"] == before


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/jobs/" + "0" * 32, "not_found"),
        ("/v1/jobs/" + "0" * 32 + "/events", "not_found"),
        ("/v1/jobs/nonsense", "invalid_request"),
        ("/v1/jobs/" + "0" * 32 + "?wait=1e9", "invalid_request"),
        ("/v1/jobs?limit=many", "invalid_request"),
        ("/v1/nothing", "not_found"),
        ("/v1/jobs/", "not_found"),
    ],
)
def test_unknown(engine, path, code):
    with pytest.raises(EngineError) as raised:
        engine.client._json("GET", path)
    assert raised.value.code == code


def test_tasks_are_described(engine):
    tasks = engine.client.tasks()
    assert tasks["copy"]["inputs"] == ["data"]
    assert tasks["copy"]["optional_inputs"] == ["more"]
    assert "steps" in tasks["count"]["schema"]["properties"]
    assert tasks["count"]["schema"]["additionalProperties"] is False


HALF = '"\\ud800"'  # a lone surrogate, which JSON can say and Unicode cannot
STRANGE = {
    "deep parameters": '{"task": "count", "parameters": {"nonce": ' + "[" * 900 + "]" * 900 + "}}",
    "deep objects": '{"task": "count", "parameters": ' + '{"a":' * 400 + "1" + "}" * 401,
    "half a character as a value": f'{{"task": "count", "parameters": {{"nonce": {HALF}}}}}',
    "half a character as a parameter": f'{{"task": "count", "parameters": {{{HALF}: 1}}}}',
    "half a character as an input": f'{{"task": "a", "parameters": {{}}, "inputs": {{{HALF}: 1}}}}',
    "half a character as a task": f'{{"task": {HALF}, "parameters": {{}}}}',
    "half a character as a field": f'{{"task": "count", "parameters": {{}}, {HALF}: 1}}',
    "many values": '{"task": "count", "parameters": {"nonce": [' + "0," * 500_000 + "0]}}",
    "many names": '{"task": "count", "parameters": {'
    + ",".join(f'"{i}":0' for i in range(80_000))
    + ', "79999":0}}',
    "many floats": '{"task": "count", "parameters": {"nonce": [' + "0.5," * 200_000 + "0]}}",
    "many digits": '{"task": "count", "parameters": {"steps": ' + "9" * 1_000_000 + "}}",
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/{job}/move"])
def test_small_bodies_are_refused_at_little_cost(engine, name, path):
    """Some of them were an error of the engine, others took minutes."""
    job = engine.count().id
    status, error = post(engine, STRANGE[name], path.replace("{job}", job))
    assert status == 400
    assert error["code"] == "invalid_json"
    assert len(error["message"]) < 300
