"""Blocks of commands in Markdown: what is run, and what it must print."""

import math
import re
from dataclasses import dataclass

NUMBER = r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])"


@dataclass(frozen=True)
class Example:
    """A command with its comment, and the lines that stand below it."""

    command: str
    comment: str
    lines: tuple[str, ...]


def examples(text: str) -> list[Example]:
    """Those of all console blocks, in order."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            head, *lines = part.rstrip("\n").split("\n")
            command, _, comment = head.partition("  #")
            found.append(Example(command.strip(), comment.strip(), tuple(lines)))
    return found


def agrees(shown: str, printed: str) -> bool:
    """Whether a line says what was printed: words are equal, numbers up to one in their last digit.

    … stands for anything without a space.
    """
    numbers = re.findall(NUMBER, shown)
    words = re.split(NUMBER, shown)
    pattern = f"({NUMBER})".join(_flexible(part) for part in words)
    found = re.fullmatch(pattern, printed.rstrip())
    return found is not None and all(
        abs(float(a) - float(b)) <= 1.01 * _last_digit(a)
        for a, b in zip(numbers, found.groups(), strict=True)
    )


def unlike(lines: tuple[str, ...], output: str) -> list[str]:
    """The lines that the output does not have, in order; a line … stands for any number of lines."""
    printed, wrong, free = output.splitlines(), [], False
    for line in lines:
        if line.strip() == "…":
            free = True
            continue
        places = range(len(printed)) if free else range(min(1, len(printed)))
        place = next((k for k in places if agrees(line, printed[k])), None)
        if place is None:
            wrong.append(line)
        else:
            printed, free = printed[place + 1 :], False
    return wrong if wrong or free or not "".join(printed).strip() else ["(more was printed)"]


def _flexible(words: str) -> str:
    """A pattern of words, in which spaces may be more or fewer: columns are as wide as their entries."""
    parts = re.split(r"(\s+|…)", words)
    return "".join(r"\s+" if p.isspace() else r"\S+" if p == "…" else re.escape(p) for p in parts)


def _last_digit(number: str) -> float:
    """One unit of the last digit that counts: of 0.450 0.001, of 2270 10; other whole numbers are exact."""
    plain = number.partition("e")[0]
    power = int(number.partition("e")[2] or 0)
    decimals = len(plain.partition(".")[2])
    zeros = 0 if decimals else len(plain) - len(plain.rstrip("0"))
    return math.pow(10.0, power - decimals + zeros) if decimals or zeros else 0.0
