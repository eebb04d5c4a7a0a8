# SPDX-License-Identifier: GPL-3.0-or-later
"""schemathesis against the live engine: what the published schema promises is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = int(os.environ.get("SYNCSDE_CONTRACT_CASES", "15"))  # for each operation


def test_published_schema_is_kept(starting, tmp_path):
    """No 5xx, no undocumented status, no answer of another shape, no valid body refused."""
    engine = starting()  # of its own: what is submitted may kill and hang
    token = engine.client.connection.token
    config = tmp_path / "schemathesis.toml"
    config.write_text(f'headers = {{ Authorization = "Bearer {token}" }}\n')
    config.chmod(0o600)
    program = Path(sys.executable).with_name("schemathesis")
    command = [program, "--config-file", config, "run", "--no-color"]
    command += [f"http://127.0.0.1:{engine.port}/v1/openapi.json"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(CASES)]
    command += ["--seed", "1", "--workers", "1", "--generation-database", "none"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
    )
    print(done.stdout[-8000:], done.stderr[-2000:])
    assert done.returncode == 0, "see schemathesis' findings above"
    assert engine.client.healthz()


@pytest.mark.slow
def test_published_schema_is_kept_for_long(starting, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "CASES", 200)
    test_published_schema_is_kept(starting, tmp_path)
