# SPDX-License-Identifier: GPL-3.0-or-later
"""The real engine and its worker, which write down every address that they connect to or look up.

The first argument is the file to write to; the rest is as for `syncsde serve`.
"""

from __future__ import annotations

import sys
from pathlib import Path

SEEN = Path(sys.argv[1])


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        with SEEN.open("a") as file:
            file.write(f"{event} {arguments[-1]!r}\n")


if __name__ == "__main__":
    sys.addaudithook(watch)
    if sys.argv[2] == "--worker":
        from syncsde_server.work import worker

        sys.exit(worker.main(sys.argv[3:]))
    from syncsde_server.__main__ import main

    sys.exit(main(sys.argv[2:], worker=[sys.executable, __file__, str(SEEN), "--worker"]))
