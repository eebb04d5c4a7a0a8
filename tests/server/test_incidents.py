# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to other engines must not happen to ours: each test is named after its incident."""

from __future__ import annotations

import ast
import hashlib
import json
import pickle
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch

from syncsde_client.client import EngineError
from syncsde_client.protocol import JobRequest
from syncsde_engine.errors import MissingWeights
from syncsde_engine.models import loading
from syncsde_server.models import Models
from tests.server.running import COMMAND, packed
from tests.server.test_guard import DEFAULT, knock

ROOT = Path(__file__).resolve().parents[2]
JOB = b'{"task": "count", "parameters": {}}'
JSON = ["Content-Type: application/json", f"Content-Length: {len(JOB)}"]


def jobs(engine) -> int:
    return sum(engine.client.status()["jobs"].values())


def refused(engine, line, headers, body=b"", status=403):
    before = jobs(engine)
    answer = knock(engine, line, headers, body)
    assert answer.status == status
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert jobs(engine) == before
    return json.loads(answer.body)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://{host}", "http://localhost"])
def test_cve_2024_10481_any_page_could_queue_work(engine, origin):
    """ComfyUI: a page in the user's browser posts a job."""
    refused(engine, "POST /v1/jobs", [*DEFAULT, *JSON, f"Origin: {origin}"], JOB)
    page = [f"Origin: {origin}", "Access-Control-Request-Method: POST"]
    refused(engine, "OPTIONS /v1/jobs", ["Host: {host}", *page])


@pytest.mark.parametrize(
    "header", ["Origin: null", "Origin: ", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: x"]
)
def test_cve_2026_56674_bypass_by_a_sandboxed_frame(engine, header):
    """ComfyUI: `Origin: null` passed the comparison of Host and Origin."""
    refused(engine, "POST /v1/jobs", [*DEFAULT, *JSON, header], JOB)


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "evil.example", "0.0.0.0:{port}", "127.0.0.1", "[::]:{port}"]
)
def test_cve_2024_28224_cve_2026_11624_comfyui_12860_dns_rebinding(engine, host):
    """Ollama, MCP SDK, ComfyUI: a foreign name that resolves to this machine, its Origin equal."""
    own = [f"Host: {host}", "Authorization: Bearer {token}"]
    refused(engine, "GET /v1/jobs", own)
    refused(engine, "GET /v1/jobs", [*own, f"Origin: http://{host}"])


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_comfyui_manager_simple_form_posts(engine, kind):
    """ComfyUI-Manager, April 2026: forms are sent across sites without being asked first."""
    headers = [*DEFAULT, f"Content-Type: {kind}", f"Content-Length: {len(JOB)}"]
    refused(engine, "POST /v1/jobs", headers, JOB, 415)


@pytest.mark.parametrize(
    "page", [b"<html><script>alert(1)</script>", b'<svg onload="alert(1)"/>'], ids=["html", "svg"]
)
def test_cve_2024_10099_cve_2026_56670_cve_2026_56672_stored_pages(engine, page):
    """ComfyUI: an upload that a browser runs. Pages are not taken, and nothing is shown inline."""
    sha256 = hashlib.sha256(page).hexdigest()
    kind = ["Content-Type: application/octet-stream", f"Content-Length: {len(page)}"]
    refused(engine, f"PUT /v1/blobs/{sha256}", [*DEFAULT, *kind], page, 422)
    inside = engine.client.put_blob(packed(page))
    answer = knock(engine, f"GET /v1/blobs/{inside}", DEFAULT)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "..%2F..%2Fengine.json",
        "%2e%2e/engine.json",
        "....//engine.json",
        "/etc/passwd",
        "//etc/passwd",
        "%2Fetc%2Fpasswd",
        "C:%5CWindows%5Cwin.ini",
        "%5C%5Cserver%5Cshare",
        "engine.json",
        "jobs.sqlite%00" + "0" * 64,
    ],
)
def test_cve_2026_56671_56673_cve_2023_51449_cve_2024_1561_1728_cve_2026_28414_file_reads(
    engine, path
):
    """ComfyUI, Gradio: paths in requests. Here nothing is named but by hash or id."""
    answer = knock(engine, f"GET /v1/blobs/{path}", DEFAULT)
    assert answer.status in (404, 422)
    token = engine.client.connection.token.encode()
    assert token not in answer.body
    assert b"root:" not in answer.body


@pytest.mark.parametrize("path", ["/v1/blobs/" + "0" * 64, "/v1/jobs/" + "0" * 32, "/engine.json"])
def test_cve_2024_11042_cve_2025_6237_file_deletion(engine, path):
    """InvokeAI: delete by name. Here nothing is deleted by a request."""
    refused(engine, f"DELETE {path}", DEFAULT, status=404 if path == "/engine.json" else 405)
    published = json.loads(knock(engine, "GET /v1/openapi.json", DEFAULT).body)
    assert all(
        set(methods) <= {"get", "head", "post", "put"} for methods in published["paths"].values()
    )


class Evil:
    def __reduce__(self):
        return (Path("pwned").touch, ())


def test_cve_2024_12029_pickles_in_model_files(engine, tmp_path, monkeypatch):
    """InvokeAI: a pickle runs code. It is not uploaded, and a folder with one is not loaded."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError) as raised:
        engine.client.put_blob(pickle.dumps(Evil()))
    assert raised.value.code == "invalid_request"
    for part in ("unet", "vae", "text_encoder", "scheduler", "tokenizer"):
        (tmp_path / "model" / part).mkdir(parents=True)
        for name in ("diffusion_pytorch_model.bin", "pytorch_model.bin", "model.ckpt"):
            (tmp_path / "model" / part / name).write_bytes(pickle.dumps(Evil()))
        (tmp_path / "model" / part / "config.json").write_text("{}")
    with pytest.raises(MissingWeights):
        loading.load(tmp_path / "model", torch.device("cpu"))
    assert not (tmp_path / "pwned").exists()


def test_cve_2025_32434_weights_only_is_no_protection():
    """torch before 2.6: nothing of ours unpickles at all.

    But for the commands that convert a checkpoint for its owner, which asks for tensors alone, of
    a torch that keeps to it.
    """
    importer = ROOT / "syncsde_engine" / "models" / "convert.py"
    loads = re.findall(r"torch\.load\([^)]*\)", importer.read_text(encoding="utf-8"))
    assert len(loads) == 1
    assert "weights_only=True" in loads[0]
    assert '"torch>=2.6"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for path in (*ROOT.glob("syncsde_engine/**/*.py"), *ROOT.glob("server/**/*.py")):
        if path == importer:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                target = ast.unparse(node.func)
                assert target not in ("torch.load", "pickle.load", "pickle.loads"), path
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "dill", "joblib"}, path


def test_cve_2025_6107_keys_that_change_classes(tiny_model, tmp_path):
    """ComfyUI: state-dict keys as attribute paths. Keys a network does not have are refused."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["__class__.__init__.__globals__.x"] = torch.zeros(1)
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    before = loading.StableDiffusion.__init__
    with pytest.raises(MissingWeights, match=r"no place for, like __class__"):
        loading.load(folder, torch.device("cpu"))
    assert loading.StableDiffusion.__init__ is before


@pytest.mark.parametrize(
    "model", ["http://169.254.169.254/latest", "https://evil.example/m", "file:///etc", "a/b", "/"]
)
def test_cve_2026_5530_cve_2023_48023_the_engine_fetches_nothing(engine, model):
    """Ollama, Ray: the server fetches a URL. Models are names of folders, inputs are hashes."""
    with pytest.raises(MissingWeights):
        Models().check(JobRequest("texture", {"model": model}))
    with pytest.raises(EngineError) as raised:
        engine.client.submit(JobRequest("copy", {}, {"data": model}))
    assert raised.value.field == "inputs.data"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_open_ollama_hosts_exposed_without_protection(tmp_path, host):
    """175,000 hosts: listening to others takes TLS, and the address of one network."""
    command = [*COMMAND, "--state-dir", str(tmp_path / "state"), "--stay", "--host", host]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["error"]["field"] == "host"


def test_cve_2023_48022_cve_2025_62593_a_browser_reaches_the_cluster(engine):
    """Ray: jobs are code, and a page can send them. Here jobs name tasks, and pages are refused."""
    body = b'{"task": "count", "parameters": {}, "entrypoint": "rm -rf /"}'
    kind = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    error = refused(engine, "POST /v1/jobs", [*DEFAULT, *kind], body, 422)
    assert error["field"] == "entrypoint"
    agent = ["User-Agent: Other", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"]
    refused(engine, "POST /v1/jobs", [*DEFAULT, *kind, *agent], body)
