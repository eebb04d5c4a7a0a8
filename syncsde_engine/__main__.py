# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m syncsde_engine` is the same program as `syncsde`: whatever happens is one sentence."""

import os
import sys
import traceback

CANCELLED = 5  # as cli's, which is not imported yet when Ctrl-C may come


def main() -> int:
    """Run the command line as a program; a mistake of ours is told with its place."""
    _open_standard_files()
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        print("syncsde: cancelled, nothing written", file=sys.stderr)
        return CANCELLED
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        print(
            f"syncsde: a mistake of this program: {type(error).__name__}: {error} "
            f"({os.path.basename(place.filename)}, line {place.lineno}). Please report it.",
            file=sys.stderr,
        )
        return 1


def _open_standard_files() -> None:
    """Without a console, nothing else may get the numbers 0 to 2, where libraries print to.

    Python's stdin stays None then, by which others know that there is none.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


if __name__ == "__main__":
    sys.exit(main())
