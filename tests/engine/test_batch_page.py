# SPDX-License-Identifier: GPL-3.0-or-later
"""report.html: hostile names stay text, nothing is loaded, a thousand rows are light."""

import io
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from syncsde_engine.cli.batch import page
from syncsde_engine.cli.batch.assets import Asset
from syncsde_engine.cli.batch.page import Row
from syncsde_engine.cli.batch.records import Record
from syncsde_engine.cli.batch.strip import thumbnail
from syncsde_engine.config import WideConfig

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&amp; [[rows]] $(rm) \u2028"
)
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def picture(seed):
    noise = np.random.default_rng(seed).integers(0, 255, (256, 256, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((512, 512)).save(file, "PNG")
    return file.getvalue()


def row(number, state="done", name=None, small=""):
    asset = Asset(
        id=name or f"asset {number}",
        line=number,
        task="wide",
        config=WideConfig(prompt="moss"),
        paths={},
        how={},
        output=f"props/{number} #?%",
        spec="",
    )
    error = {"code": "x", "message": HOSTILE, "hint": "", "field": None}
    record = Record(
        id=asset.id,
        task="wide",
        state="failed" if state == "failed" else "done",
        spec="",
        seconds=number,
        seen=0.9,
        disagreement=0.01 * number,
        error=error if state == "failed" else None,
        warnings=[HOSTILE] if number % 5 == 0 else [],
        thumbnail=small,
    )
    return Row(asset, state, None if state == "waiting" else record)


class Parsed(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.loaded, self.text, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        assert not [name for name in given if name.startswith("on")]
        self.loaded += [given[name] for name in ("src", "srcset", "data") if name in given]
        self.links += [given["href"]] if "href" in given else []

    def handle_data(self, data):
        self.text.append(data)


def draw(rows):
    return page.draw(rows, Path("out dir"), Path("m'anifest.jsonl"))


def test_hostile_names_stay_text_and_nothing_is_loaded():
    small = thumbnail({"image.png": picture(0)})
    rows = [row(1, name=HOSTILE, small=small), row(2, "failed", HOSTILE), row(3, "waiting")]
    rows.append(row(4, small='data:image/webp;base64,AA"><script>'))
    text = draw(rows)
    parsed = Parsed()
    parsed.feed(text)
    assert parsed.tags.count("script") == 1
    assert parsed.tags.count("img") == 1
    assert parsed.loaded == [small]
    assert parsed.links == ["props/1%20%23%3F%25/", "props/4%20%23%3F%25/"]
    assert "".join(parsed.text).count(HOSTILE) >= 3
    assert "://" not in text
    command = next(part for part in parsed.text if part.startswith("syncsde batch"))
    assert shlex.split(command)[2:] == [
        "m'anifest.jsonl",
        "--output",
        "out dir",
        "--retry-failed",
        f"--only={HOSTILE}",
    ]


def test_thumbnails_are_small():
    files = {"texture.png": picture(1)} | {f"views/{n:02}.png": picture(n) for n in range(10)}
    small = thumbnail(files)
    assert page.PICTURE.fullmatch(small)
    assert len(small) < 20_000  # of noise, which is the worst there is
    assert thumbnail({"report.json": b"{}"}) == ""
    assert thumbnail({"image.png": b"not a picture"}) == ""


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")
def test_a_thousand_rows_in_a_browser(tmp_path):
    """The page's own script runs under its policy; then the same page is timed by one of ours."""
    small = thumbnail({"texture.png": picture(1), "views/00.png": picture(2)})
    states = ["done", "done", "done", "failed", "waiting"]
    rows = [row(n, states[n % 5], small=small) for n in range(1000)]
    text = draw(rows)
    assert len(text) < 15e6
    shown = browse(tmp_path / "page.html", text)
    assert "1000 of 1000 shown" in shown
    assert "<title>m'anifest.jsonl: 600 done" in shown  # and no alert changed it
    ours = """<script>
    const times = [];
    function timed(act) { const t = performance.now(); act(); document.body.offsetHeight;
      times.push(Math.round(performance.now() - t)); }
    timed(() => { search.value = "asset 777"; search.dispatchEvent(new Event("input")); });
    const found = document.getElementById("shown").textContent;
    timed(() => { search.value = ""; state.value = "failed";
      state.dispatchEvent(new Event("change")); });
    const failed = document.getElementById("shown").textContent;
    timed(() => { document.querySelectorAll("th button")[5].click(); });
    timed(() => { document.querySelectorAll("th button")[5].click(); });
    const first = document.querySelector("tbody").rows[0].cells[6].textContent;
    document.title = JSON.stringify({ found, failed, first, times });
    </script></body>"""
    free = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", ours)
    told = re.search(r"<title>(.*?)</title>", browse(tmp_path / "timed.html", free))[1]
    assert '"found":"1 of 1000 shown"' in told
    assert '"failed":"200 of 1000 shown"' in told
    assert '"first":"998.0"' in told, told


def browse(path, text):
    """What a page has become after its scripts."""
    path.write_text(text, encoding="utf-8", errors="replace")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={path}.profile", path.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    return done.stdout.decode("utf-8", "replace")
