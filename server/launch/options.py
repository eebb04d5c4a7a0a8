# SPDX-License-Identifier: GPL-3.0-or-later
"""The flags of `syncsde serve`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from syncsde_client import protocol
from syncsde_engine.cli.flags import Parser, whole


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="syncsde serve", description="Run the engine that the Blender add-on talks to."
    )
    add = parser.add_argument
    add("--port", type=whole, default=0, help="TCP port; 0 takes a free one")
    add(
        "--state-dir",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder of jobs, files and the connection file",
    )
    add(
        "--stay",
        action="store_true",
        default=False,
        help="keep running after the parent process and all clients are gone",
    )
    add(
        "--device",
        type=_device,
        default="auto",
        help="for jobs that leave it open: cpu, cuda, cuda:1, mps",
    )
    add(
        "--models-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a folder of diffusers folders, which jobs may then name (may be repeated); "
        "STATE_DIR/models is one, too",
    )
    add("--quota", type=_size, default=20.0, metavar="GB", help="size of all files; default: 20")
    add(
        "--memory",
        type=_size,
        default=None,
        metavar="GB",
        help="the most that the worker may take (Linux); default: what the machine has, "
        "without limit where there is CUDA",
    )
    add("--metrics", action="store_true", default=False, help="figures for Prometheus at /metrics")
    network = parser.add_argument_group("other machines", "Only with TLS; the token is needed too.")
    network.add_argument(
        "--host", default=protocol.HOST, help="address to listen at; default: this machine only"
    )
    network.add_argument(
        "--name",
        action="append",
        default=[],
        help="a name by which clients call this machine (may be repeated)",
    )
    for name in ("--certificate", "--key"):
        network.add_argument(name, type=Path, default=None, metavar="FILE", help="PEM")
    return parser


def worker_memory(arguments: argparse.Namespace) -> int:
    """The worker's limit in bytes; 0 is none."""
    if arguments.memory is not None:
        return round(arguments.memory * 1e9)
    if Path("/dev/nvidiactl").exists() or not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"there is no device {text!r}")
    return text


def _size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no size in GB")
    return size
