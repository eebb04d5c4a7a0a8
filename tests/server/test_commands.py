# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde submit`, `jobs`, `cancel`, `result` and `doctor` with a real engine."""

from __future__ import annotations

import json
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from syncsde_engine import cli
from syncsde_server import doctor
from tests.server.running import packed, start


@pytest.fixture(scope="module")
def real(tmp_path_factory, tiny_model):
    """The real engine with a tiny model, at the folder that commands look at."""
    folder = tmp_path_factory.mktemp("commands") / "state"
    command = [sys.executable, "-m", "syncsde_engine", "serve"]
    running = start(folder, "--models-dir", str(tiny_model.parent), command=command)
    yield running
    running.end()


def syncsde(*arguments: str) -> int:
    return cli.main(list(arguments))


WIDE = ["--prompt", "hills", "--steps", "2", "--width", "64", "--patch-size", "64"]


def test_submit_and_write(real, tiny_model, tmp_path, capsys):
    place = ["--state-dir", str(real.folder)]
    asked = [*WIDE, "--model", tiny_model.name]
    assert syncsde("submit", "wide", *asked, *place, "--output", str(tmp_path / "a")) == 0
    assert (tmp_path / "a" / "image.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()

    assert syncsde("submit", "wide", *asked, *place) == 0  # has a result already
    job = capsys.readouterr().out.strip()
    assert syncsde("result", job[:10], *place, "--output", str(tmp_path / "b"), "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["state", "notice", "state", "done"]
    for name in ("image.png", "report.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    assert syncsde("jobs", "--mine", *place) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 2
    assert listed[0].startswith(job[:12])
    assert "done" in listed[0]
    assert {job.owner for job in real.client.jobs()} == {"cli"}


def test_cancel(real, tiny_model, capsys):
    place = ["--state-dir", str(real.folder)]
    long = [*WIDE, "--model", tiny_model.name, "--steps", "900", "--seed", "5"]
    ids = []
    for priority in ("0", "1"):
        assert (
            syncsde("submit", "wide", *long, *place, "--priority", priority, "--key", priority) == 0
        )
        ids.append(capsys.readouterr().out.strip())
        long = [*long, "--seed", "6"]
    assert syncsde("cancel", ids[1][:9], *place) == 0
    assert syncsde("cancel", "--all", *place) == 0
    for job in ids:
        assert real.client.finish(job).state == "cancelled"
    assert syncsde("result", ids[0], *place, "--output", "nowhere") == 5
    assert not Path("nowhere").exists()
    capsys.readouterr()
    assert syncsde("cancel", ids[0], *place) == 0
    assert "had ended already: cancelled" in capsys.readouterr().out


def test_an_interrupted_wait_leaves_the_job(real, tiny_model, capsys, monkeypatch, tmp_path):
    place = ["--state-dir", str(real.folder)]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("syncsde_server.commands._follow", interrupted)
    asked = [*WIDE, "--model", tiny_model.name, "--seed", "11", "--output", str(tmp_path / "out")]
    assert syncsde("submit", "wide", *asked, *place) == 5
    told = capsys.readouterr().out
    assert "goes on" in told
    assert real.client.finish(told.split()[1]).state == "done"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cancel"], 2, "Name the jobs to cancel"),
        (["cancel", "123", "--all"], 2, "Name the jobs"),
        (["result", "fffff", "--output", "x"], 2, "No jobs have an id"),
        (["submit", "wide", *WIDE, "--model", "absent"], 3, "There is no model 'absent'"),
        (["submit", "wide", *WIDE, "--model", "/etc"], 3, "takes names, not paths"),
        (["submit", "wide", *WIDE, "--priority", "101"], 2, "priority"),
        (["submit", "wide"], 2, "prompt"),
        (["submit", "nothing"], 2, "nothing"),
    ],
)
def test_one_sentence_when_it_cannot_be(real, capsys, arguments, code, words):
    place = ["--state-dir", str(real.folder)]
    assert syncsde(*arguments, *(place if "nothing" not in arguments else [])) == code
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1


def test_example_of_the_pages(real, tmp_path, monkeypatch):
    """The ten lines, with fewer steps, run as they stand."""
    page = Path(__file__).resolve().parents[2] / "docs" / "scripting.md"
    blocks = page.read_text(encoding="utf-8").split("```")
    (example,) = [block for block in blocks if "find_engine" in block]
    example = example.removeprefix("python\n").replace('"width": 512', '"width": 256, "steps": 1')
    monkeypatch.setenv("SYNCSDE_STATE_DIR", str(real.folder))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, page.name, "exec"), {})
    assert (tmp_path / "image.png").read_bytes().startswith(b"\x89PNG")


def test_no_engine(tmp_path, capsys):
    assert syncsde("jobs", "--state-dir", str(tmp_path)) == 3
    assert "syncsde serve --stay" in capsys.readouterr().err


def test_doctor(real, tmp_path, capsys):
    prompt = "a secret castle"
    real.client.put_blob(packed(b"x"))
    with closing(open(real.folder / "log.jsonl", "a")) as log:
        log.write(json.dumps({"message": f'"prompt": "{prompt}", at {Path.home()}/x'}) + "\n")
        log.write(f"Authorization: Bearer {real.client.connection.token}\n")
    target = tmp_path / "report.zip"
    assert syncsde("doctor", "--state-dir", str(real.folder), "--json", "--zip", str(target)) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    found = {each["name"]: each for each in findings}
    assert found["torch works"]["state"] == found["engine"]["state"] == "ok"
    assert found["model mini"]["state"] == "ok"
    with zipfile.ZipFile(target) as archive:
        assert set(archive.namelist()) >= {"doctor.json", "log.jsonl", "engine.log"}
        content = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert real.client.connection.token not in content
    assert prompt not in content
    assert str(Path.home()) + "/" not in content


def test_doctor_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED", ("torch", "no-such-package"))
    monkeypatch.setattr(doctor, "TORCH", "raise SystemExit('libcuda is broken')")
    monkeypatch.setattr(doctor, "LEAST_FREE", 1 << 60)
    assert syncsde("doctor", "--state-dir", str(tmp_path / "state")) == 3
    told = capsys.readouterr().out
    assert "wrong   no-such-package: not installed" in told
    assert "pip install -r requirements/engine.lock" in told
    assert "libcuda is broken" in told
    assert "wrong   disk:" in told
