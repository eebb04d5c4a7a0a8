# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to the engine: find or start it, submit jobs, fetch results.

Standard library and numpy only, without Blender. The wheel has this folder as `syncsde_client`,
which scripts, the server and its commands import; the extension has it as `client`.
"""

from .client import Client, EngineError, find_engine, start_engine
from .protocol import Connection, Event, Job, JobRequest, JobState, state_dir

__all__ = [
    "Client",
    "Connection",
    "EngineError",
    "Event",
    "Job",
    "JobRequest",
    "JobState",
    "find_engine",
    "start_engine",
    "state_dir",
]
