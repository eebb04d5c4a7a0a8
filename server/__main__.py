# SPDX-License-Identifier: GPL-3.0-or-later
"""`syncsde serve`: start the engine process and say in one line of JSON when it is ready."""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from syncsde_client import protocol
from syncsde_engine import __version__, plugins
from syncsde_engine.errors import SyncSDEError

from .errors import DiskFull, UnusableState, is_disk_full
from .http.metrics import Metrics
from .launch.address import Door, bind
from .launch.lock import only_engine
from .launch.logs import keep_log
from .launch.options import parser, worker_memory
from .launch.parent import leave_with_parent
from .models import Models, check_folders
from .store.blobs import BlobStore
from .store.changes import Changes
from .store.files import keep_checkpoints, remove_parts
from .store.jobs import Jobs
from .store.leases import Leases
from .store.space import Room
from .work.process import WORKER_COMMAND
from .work.supervisor import Supervisor, WorkerCrashed

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None, worker: Sequence[str] = WORKER_COMMAND) -> int:
    """Run the engine that the Blender add-on talks to, until its parent or a signal ends it.

    `worker` is the command that starts a worker process, which speaks as `worker.py` does; the
    engine adds where the files are and the device.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return _serve(parser().parse_args(argv), worker)
    except SyncSDEError as error:
        log.error("%s", error, exc_info=error.__cause__)
        print(json.dumps({"error": error.as_dict()}), flush=True)
        return error.exit_code
    except KeyboardInterrupt:  # which uvicorn raises after it has ended in good order
        return 0


def _serve(arguments: argparse.Namespace, worker: Sequence[str]) -> int:
    plugins.load()
    os.umask(0o077)  # prompts and pictures are nobody else's business
    folder: Path = (arguments.state_dir or protocol.state_dir()).absolute()
    check_folders(arguments.models_dir)
    door = Door(arguments.host, arguments.name, arguments.certificate, arguments.key)
    door.check()
    try:
        with closing(bind(door.host, arguments.port)) as listener:
            protocol.make_private(folder)
            with only_engine(folder):
                return _run(folder, arguments, worker, door, listener)
    except sqlite3.DatabaseError as error:
        if is_disk_full(error):
            raise DiskFull(f"There is no room in {folder}.") from error
        raise UnusableState(
            f"The jobs in {folder} cannot be read: {error}.", hint="Use another --state-dir."
        ) from error
    except OSError as error:
        raise UnusableState(
            str(error)
            if protocol.is_not_private(error)
            else f"{folder} cannot be used: {error.strerror or error}.",
            hint="Use another --state-dir.",
        ) from None


def _run(
    folder: Path,
    arguments: argparse.Namespace,
    worker: Sequence[str],
    door: Door,
    listener: socket.socket,
) -> int:
    token = secrets.token_urlsafe(32)
    with ExitStack() as stack:
        handler = keep_log(folder, [token])
        stack.callback(logging.getLogger().removeHandler, handler)
        stack.callback(handler.close)
        changes, leases = Changes(), Leases()
        store = BlobStore(folder / "blobs", round(arguments.quota * 1e9))
        remove_parts(store.folder)
        metrics = Metrics(store) if arguments.metrics else None
        checkpoints = protocol.make_private(folder / "checkpoints")
        (folder / "models").mkdir(mode=0o700, exist_ok=True)
        folders = [folder / "models", *arguments.models_dir]
        jobs = stack.enter_context(closing(Jobs(folder / "jobs.sqlite", changes.notify)))
        jobs.recover(WorkerCrashed("The engine was killed during this job.").as_dict())
        keep_checkpoints(checkpoints, jobs.unfinished())
        room = Room(folder, store, jobs, checkpoints)
        command = [*worker, "--blobs", str(store.folder), "--checkpoints", str(checkpoints)]
        command += ["--device", arguments.device, "--memory", str(worker_memory(arguments))]
        command += [part for each in folders for part in ("--models-dir", str(each))]
        supervisor = Supervisor(jobs, room, command, checkpoints)
        supervisor.start()
        stack.callback(supervisor.stop)
        # Only now, so that the worker imports torch while we import the web framework.
        os.environ["FASTAPI_OTEL_AUTO_CONFIGURE"] = "false"
        from .http.engine import Engine
        from .http.serving import Server

        connection = protocol.Connection(
            protocol=protocol.PROTOCOL,
            host=door.host,
            port=listener.getsockname()[1],
            token=token,
            pid=os.getpid(),
            instance=secrets.token_hex(16),
            version=__version__,
            certificate=door.pem,
        )

        def on_ready() -> None:
            connection.write(folder)
            _say_ready(connection)

        def on_leave() -> None:
            with suppress(PermissionError):  # of what is not ours, nor is the file
                if protocol.Connection.read(folder) == connection:
                    (folder / protocol.CONNECTION_FILE).unlink(missing_ok=True)
            supervisor.stop()

        engine = Engine(
            connection.instance,
            arguments.device,
            jobs,
            store,
            room,
            Models(folders),
            supervisor,
            leases,
            changes,
            metrics,
        )
        server = Server(engine, token, connection.port, door, on_ready=on_ready, on_leave=on_leave)
        _leave_on_signals(server.leave)
        if not arguments.stay:
            leave_with_parent(leases, server.leave)
        server.run([listener])
    return 0


def _leave_on_signals(leave: Callable[[], None]) -> None:
    """Leave in good order when told to end, or when the terminal is closed, but not under nohup."""
    for name in ("SIGTERM", "SIGHUP"):  # uvicorn has its own while it runs, and sends it again
        number = getattr(signal, name, None)  # Windows knows no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: leave())


def _say_ready(connection: protocol.Connection) -> None:
    """Tell a parent that reads our stdout; all but the token, which is in the connection file."""
    told = {name: getattr(connection, name) for name in ("protocol", "port", "pid", "instance")}
    print(json.dumps({"ready": True, **told}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
