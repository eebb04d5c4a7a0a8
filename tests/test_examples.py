# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_wide_example_synchronizes_and_uses_only_torch_and_the_method(tmp_path):
    script = ROOT / "examples" / "wide.py"
    code = f"import runpy, sys; runpy.run_path({str(script)!r}, run_name='__main__'); "
    code += "sys.exit(any(m in sys.modules for m in ('diffusers', 'transformers', 'PIL')))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    apart, together = (float(n) for n in re.findall(r"by (\d\.\d+)", done.stdout))
    assert together < 0.1 * apart
    assert {path.name for path in tmp_path.iterdir()} == {"independent.ppm", "syncsde.ppm"}
