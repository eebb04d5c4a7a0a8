# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch on a real Ray cluster of three nodes, one of which is killed meanwhile."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from syncsde_engine.cli import main

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = """
import glob, os, sys, threading, time
from ray.cluster_utils import Cluster
from syncsde_engine.cli import main

manifest, output = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]

def kill():
    while len(glob.glob(f"{output}/sky*/image.png")) < 4:
        time.sleep(0.1)
    cluster.remove_node(nodes[1], allow_graceful=False)
    print("a node was killed", flush=True)

killer = threading.Thread(target=kill, daemon=True)
killer.start()
os.environ["RAY_ADDRESS"] = cluster.address
status = main(["batch", manifest, "--output", output, "--executor", "ray"])
killer.join(60)
again = main(["batch", manifest, "--output", output, "--executor", "ray", "--resume"])
cluster.shutdown()
print("ended with", status, again)
"""
DEADLY = '''
import os
from syncsde_engine.config import STRICT, Sampling, dataclass
from syncsde_engine.tasks import Progress

@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config(Sampling):
    """Ends the process that runs it."""

def run(config, inputs):
    yield Progress("load", 0, 1)
    os._exit(1)
'''


def test_without_ray_or_cluster_it_is_said(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"task": "wide", "prompt": "a"}')
    arguments = ["batch", str(tmp_path / "a.jsonl"), "--output", str(tmp_path / "out")]
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("Ray is installed")
    assert main([*arguments, "--executor", "ray"]) == 3
    assert "Ray is not installed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_node_a_bad_and_a_deadly_asset_are_survived(tiny_model, tmp_path):
    small = {"prompt": "a", "model": str(tiny_model), "steps": 1, "patch_size": 64, "width": 64}
    good = [{"id": f"sky {number}", "seed": number} for number in range(24)]
    deadly = {"id": "deadly", "task": "deadly"}
    bad = {"id": "bad", "task": "texture", "mesh": "bad.obj"}
    (tmp_path / "bad.obj").write_text("f 1 2")
    (tmp_path / "deadly.py").write_text(DEADLY)
    manifest = tmp_path / "all.jsonl"
    rows = [{"defaults": {"task": "wide", **small}}, *good[:2], deadly, bad, *good[2:]]
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "cluster.py").write_text(CLUSTER)
    more = {"SYNCSDE_TASKS": str(tmp_path / "deadly.py"), "OMP_NUM_THREADS": "1"}
    more |= {"RAY_AUTH_MODE": "disabled"}
    more["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(tmp_path / "cluster.py"), str(manifest), str(tmp_path / "ray")]
    done = subprocess.run(
        command, env=os.environ | more, capture_output=True, text=True, timeout=500
    )
    assert "ended with 6 6" in done.stdout, done.stdout + done.stderr[-3000:]
    assert "a node was killed" in done.stdout

    def record(name):
        return json.loads((tmp_path / "ray" / name / "result.json").read_text())

    assert record("bad")["error"]["code"] == "invalid_mesh"
    assert "in a row" in record("deadly")["error"]["message"]
    (tmp_path / "good.jsonl").write_text(
        "\n".join(json.dumps({"task": "wide", **small, **line}) for line in good)
    )
    local = ["batch", str(tmp_path / "good.jsonl"), "--output", str(tmp_path / "local")]
    command = [sys.executable, "-m", "syncsde_engine", *local]
    subprocess.run(command, env=os.environ | more, check=True, capture_output=True, timeout=300)
    for line in good:
        image = Path(line["id"]) / "image.png"
        assert (tmp_path / "ray" / image).read_bytes() == (tmp_path / "local" / image).read_bytes()
