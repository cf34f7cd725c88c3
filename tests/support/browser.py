"""Pages in a real browser, Chromium without a window."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from waiting import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
REASON = f"needs one of {', '.join(NAMES)}"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
    "--no-first-run --enable-logging=stderr --v=0 --dump-dom --virtual-time-budget=10000"
).split()


def browse(harness: str, text: str, width: int, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What the script of a harness saw in a frame of this width, and the lines of the console.

    The harness is a page that shows REPORT in a frame WIDTH pixels wide, as windows have a least width, and
    leaves what it saw as JSON in an element of the id "found".
    """
    file = folder / "page.html"
    made = harness.replace("WIDTH", str(width)).replace("REPORT", html.escape(text))
    file.write_text(made, encoding="utf-8")
    words = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000"]
    done = subprocess.run(
        [*words, file.as_uri()], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])), console
