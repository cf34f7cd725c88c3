"""Arrays and tensors as text: their type and shape, a digest of their values, and how these lie in memory.

The last decides in which order sums are taken, and so the last bits of what is made of them.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # processes that have no arrays do not import what takes long
    import numpy as np
    from torch import Tensor


def of_array(thing: np.ndarray) -> tuple[str, ...]:
    """An array of anything but objects."""
    content = hashlib.sha256(thing.tobytes()).hexdigest()
    order = () if thing.flags.c_contiguous else (str(thing.strides),)
    return (str(thing.dtype.descr), str(thing.shape), content, *order)


def of_tensor(thing: Tensor) -> tuple[str, ...]:
    """A dense tensor. Raises whatever torch raises of those that are sparse or have no memory."""
    plain = thing.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    content = hashlib.sha256(plain.view(sys.modules["torch"].uint8).numpy().tobytes()).hexdigest()
    order = () if thing.is_contiguous() else (str(thing.stride()),)
    kind = (str(thing.dtype), thing.device.type, str(tuple(thing.shape)), str(thing.requires_grad))
    return (*kind, content, *order)
