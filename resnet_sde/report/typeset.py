"""LaTeX as MathML, which browsers typeset by themselves."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert

_NAMESPACE = "http://www.w3.org/1998/Math/MathML"
_TAGS = set(
    "math mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt mstyle "
    "msub msubsup msup mtable mtd mtext mtr munder munderover".split()
)
# Of looks alone: nothing that a reader could follow, or a browser run or fetch, and no names of elements.
_ATTRIBUTES = set(
    "accent columnalign columnlines columnspacing depth display displaystyle fence form height linebreak "
    "linethickness lspace mathbackground mathcolor mathsize mathvariant maxsize minsize movablelimits "
    "notation rowlines rowspacing rspace scriptlevel separator stretchy voffset width".split()
)

# What the converter takes for letters, and so sets without the space around signs; and the reverse.
_SIGNS = {"~": "∼", "⟹": "⟹", "⟸": "⟸", "⟺": "⟺", "⟨": "⟨", "⟩": "⟩"}
_FENCES = {"⟨": "prefix", "⟩": "postfix"}
_LETTERS = {"∞"}
_TIGHT = {"/", "|"}

_PRIMED = re.compile(r"(\\?[A-Za-z]+'+)(?=\^)")  # f'^2, which the converter takes for two superscripts


def typeset(latex: str) -> str | None:
    """A statement in LaTeX as a block of MathML; None where there is none, or it cannot be typeset.

    What a browser would show as an error or as a bare command of LaTeX counts as not typeset, and so does
    what holds more than looks, such as a link.
    """
    if not latex.strip():
        return None
    try:
        root = ElementTree.fromstring(convert(_PRIMED.sub(r"{\1}", latex), display="block"))
    except Exception:  # the converter raises what it happens to meet; it has no class of its own for it
        return None
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
        if (
            element.tag not in _TAGS
            or "\\" in (element.text or "")
            or not element.attrib.keys() <= _ATTRIBUTES
        ):
            return None
        _mend(element)
    for parent in list(root.iter()):
        _space_functions(parent)
    root.set("alttext", latex)
    return ElementTree.tostring(root, encoding="unicode")


def _mend(element: ElementTree.Element) -> None:
    """Letters that are signs become signs, and the reverse."""
    text = element.text or ""
    if element.tag == "mi" and text in _SIGNS:
        element.tag, element.text = "mo", _SIGNS[text]
        if text in _FENCES:
            element.attrib.update(form=_FENCES[text], stretchy="false", lspace="0", rspace="0")
    elif element.tag == "mo" and text in _LETTERS:
        element.tag = "mi"
    elif element.tag == "mo" and text in _TIGHT:
        element.attrib.update(lspace="0", rspace="0")


def _space_functions(parent: ElementTree.Element) -> None:
    """A thin space on both sides of log and its like, except next to signs and before brackets."""
    if parent.tag not in ("math", "mrow", "mstyle"):
        return
    children = list(parent)
    for place in reversed(range(len(children))):
        if children[place].tag != "mi" or len(children[place].text or "") < 2:
            continue
        after = children[place + 1] if place + 1 < len(children) else None
        if after is not None and after.tag != "mspace" and not _opens(after):
            parent.insert(place + 1, _thin())
        if place and children[place - 1].tag not in ("mo", "mspace", "mtext"):
            parent.insert(place, _thin())


def _opens(element: ElementTree.Element) -> bool:
    """Whether it is an opening bracket, or begins with one."""
    first = element
    while len(first) and first.tag != "mfrac":
        first = first[0]
    return first.tag == "mo" and (first.text or "") in "([{"


def _thin() -> ElementTree.Element:
    return ElementTree.Element("mspace", width="0.17em")
