# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's log: one JSON object a line, in files that are replaced, without secrets."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import time
from collections.abc import Sequence
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_FILE = "log.jsonl"
MAX_BYTES = 4 << 20
OLD_FILES = 3

_TOKEN = re.compile(r"(?i)(bearer\s+|token[\"'=:\s]+)[A-Za-z0-9_\-.]{16,}")
# To the end of the line: where a prompt with quotes ends is not to be told in text that is escaped.
_PROMPT = re.compile(r"(?i)(\w*(?:prompt|background|foreground|word)\w*\\*[\"']\s*:\s*)[^\n]*")


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Take out what is nobody's business: tokens, prompts, and whose home folder it is."""
    for secret in secrets:
        text = text.replace(secret, "<secret>")
    text = _TOKEN.sub(r"\1<secret>", text)
    text = _PROMPT.sub(r"\1<prompt>", text)
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(message, self._secrets),
        }
        return json.dumps(line, ensure_ascii=False)


class PrivateFile(RotatingFileHandler):
    """A log that only this user can read. A full disk costs lines of it, nothing else."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.fdopen(
            os.open(self.baseFilename, flags, stat.S_IRUSR | stat.S_IWUSR), "a", encoding="utf-8"
        )

    def handleError(self, record: logging.LogRecord) -> None:
        """The console, which has the same lines, is not to be filled with complaints."""


def keep_log(folder: Path, secrets: Sequence[str]) -> logging.Handler:
    """Write all records into `folder` from now on, without `secrets`."""
    handler = PrivateFile(folder / LOG_FILE, maxBytes=MAX_BYTES, backupCount=OLD_FILES)
    handler.setFormatter(JsonLines(secrets))
    logging.getLogger().addHandler(handler)
    return handler
