"""The code of docs/blocks.md runs, and prints what it says."""

import re
from typing import Any

import pytest
import torch
from places import ROOT


def test_the_page_on_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")
    torch.set_default_dtype(torch.float32)  # as a reader has it
    for section in page.split("\n## ")[1:]:
        names: dict[str, Any] = {}
        code = "".join(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL))
        exec(compile(code, "blocks.md", "exec"), names)
        assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", code)
