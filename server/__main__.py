# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde serve`: start the engine process and say in one line of JSON when it is ready."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import secrets
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from blender_addon import protocol
from syncsde_engine import __version__
from syncsde_engine.errors import InvalidRequest, SyncSDEError

from .blobs import BlobStore
from .changes import Changes
from .errors import DiskFull, UnusableState, is_disk_full
from .jobs import Jobs
from .lock import only_engine
from .process import WORKER_COMMAND
from .supervisor import Supervisor, WorkerCrashed

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, worker: Sequence[str] = WORKER_COMMAND) -> int:
    """Serve until the parent closes our stdin or a signal comes; return the exit code.

    `worker` is the command that starts a worker process, which speaks as `worker.py` does; the
    engine adds where the blobs are and the device.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return _serve(arguments, worker)
    except SyncSDEError as error:
        log.error("%s", error, exc_info=error.__cause__)
        print(json.dumps({"error": error.as_dict()}), flush=True)
        return error.exit_code
    except KeyboardInterrupt:  # which uvicorn raises after it has ended in good order
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="syncsde serve", description="Run the engine that the Blender add-on talks to."
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 takes a free one")
    parser.add_argument(
        "--state-dir", type=Path, help="folder of jobs, files and the connection file"
    )
    parser.add_argument(
        "--stay", action="store_true", help="stay when stdin is closed, that is: without a parent"
    )
    parser.add_argument(
        "--device",
        type=_device,
        default="auto",
        help="for jobs that leave it open: cpu, cuda, cuda:1, mps",
    )
    return parser


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"there is no device {text!r}")
    return text


def _serve(arguments: argparse.Namespace, worker: Sequence[str]) -> int:
    folder: Path = arguments.state_dir or protocol.state_dir()
    try:
        protocol.make_private(folder)
        with only_engine(folder):
            return _run(folder, arguments, worker)
    except sqlite3.DatabaseError as error:
        if is_disk_full(error):
            raise DiskFull(f"There is no room in {folder}.") from error
        raise UnusableState(
            f"The jobs in {folder} cannot be read: {error}.", hint="Use another --state-dir."
        ) from error
    except OSError as error:
        ours = isinstance(error, PermissionError) and error.strerror is None  # make_private's
        raise UnusableState(
            str(error) if ours else f"{folder} cannot be used: {error.strerror or error}.",
            hint="Use another --state-dir.",
        ) from (None if ours else error)


def _run(folder: Path, arguments: argparse.Namespace, worker: Sequence[str]) -> int:
    changes = Changes()
    store = BlobStore(folder / "blobs")
    store.remove_parts()
    command = [*worker, "--blobs", str(store.folder), "--device", arguments.device]
    with closing(Jobs(folder / "jobs.sqlite", changes.notify)) as jobs:
        jobs.recover(WorkerCrashed("The engine was killed during this job.").as_dict())
        supervisor = Supervisor(jobs, store, command)
        supervisor.start()
        try:
            # Only now, so that the worker imports torch while we import the web framework.
            os.environ["FASTAPI_OTEL_AUTO_CONFIGURE"] = "false"
            from .app import Engine
            from .serving import Server, bind

            try:
                listener = bind(protocol.HOST, arguments.port)
            except (OSError, OverflowError) as error:
                raise InvalidRequest(
                    f"Port {arguments.port} cannot be used: {error}.", field="port"
                ) from None
            connection = protocol.Connection(
                protocol=protocol.PROTOCOL,
                host=protocol.HOST,
                port=listener.getsockname()[1],
                token=secrets.token_urlsafe(32),
                pid=os.getpid(),
                instance=secrets.token_hex(16),
                version=__version__,
            )

            def on_ready() -> None:
                connection.write(folder)
                _say_ready(connection)

            def on_leave() -> None:
                (folder / protocol.CONNECTION_FILE).unlink(missing_ok=True)
                supervisor.stop()

            engine = Engine(connection.instance, arguments.device, jobs, store, supervisor, changes)
            server = Server(
                engine, connection.token, connection.port, on_ready=on_ready, on_leave=on_leave
            )
            if not arguments.stay:
                _leave_with_parent(server.leave)
            server.run([listener])
        finally:
            supervisor.stop()
    return 0


def _say_ready(connection: protocol.Connection) -> None:
    """Tell a parent that reads our stdout; all but the token, which is in the connection file."""
    told = {name: getattr(connection, name) for name in ("protocol", "port", "pid", "instance")}
    print(json.dumps({"ready": True, **told}), flush=True)


def _leave_with_parent(leave: Callable[[], None]) -> None:
    """Call `leave` when nobody holds the other end of our stdin any more."""
    # As in worker.py: on Windows nothing else may look at a stdin that a thread reads from.
    try:
        stdin = os.dup(0)
    except OSError:
        raise InvalidRequest("There is no stdin to wait for.", hint="Use --stay.") from None
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        try:
            while os.read(stdin, 1 << 16):
                pass
        except OSError:
            pass  # as good as closed
        log.info("the parent is gone")
        leave()

    threading.Thread(target=wait, name="parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
