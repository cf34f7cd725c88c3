"""Named random streams, independent of the order of work.

A stream is named by a seed and a key, such as ``("simulate", model, depth, chunk)``. The name alone decides
its numbers, so the order of work, the batch size and the number of workers cannot change a result.

On CPU, float32 normals come from torch (the fastest there) and everything else from NumPy's SFC64. The
torch generator is a Mersenne twister whose ``manual_seed`` keeps 32 bits only; two of the many chunks of a
large ensemble could then share their numbers. All 624 words of its state are filled from the name instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from resnet_sde._names import stable_name
from resnet_sde.checks import check_memory

# Where torch keeps the words of the twister in the byte string of a CPU generator's state.
_TWISTER = slice(24, 24 + 8 * 624)


class Stream:
    """Random numbers for tensors of one device: contiguous float32 or float64 tensors are filled in place.

    dtype: of the tensors that `normal` and `uniform` make; torch's default if None.
    """

    dtype: torch.dtype | None = None

    def __init__(self, sequence: np.random.SeedSequence, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        torch_seed, numpy_seed = sequence.spawn(2)
        self.torch = _torch_generator(torch_seed, self.device)
        self.numpy = np.random.Generator(np.random.SFC64(numpy_seed))

    def normal_(self, out: Tensor) -> Tensor:
        """Fill with standard normal numbers."""
        if out.device.type == "cpu" and out.dtype == torch.float64:
            self.numpy.standard_normal(out=_array(out))
            return out
        return out.normal_(generator=self.torch)

    def uniform_(self, out: Tensor) -> Tensor:
        """Fill with uniform numbers of mean 0 and variance 1, on (-√3, √3)."""
        if out.device.type == "cpu":
            self.numpy.random(out=_array(out), dtype=_array(out).dtype)
        else:
            out.uniform_(generator=self.torch)
        return out.sub_(0.5).mul_(2.0 * math.sqrt(3.0))

    def exponential_(self, out: Tensor) -> Tensor:
        """Fill with exponential numbers of mean 1."""
        if out.device.type != "cpu":
            return out.exponential_(generator=self.torch)
        self.numpy.standard_exponential(out=_array(out), dtype=_array(out).dtype)
        return out

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers of this shape."""
        return self.normal_(self.empty(*shape))

    def uniform(self, *shape: int) -> Tensor:
        """Numbers of this shape, uniform on (-√3, √3), which has unit variance."""
        return self.uniform_(self.empty(*shape))

    def empty(self, *shape: int) -> Tensor:
        """Room for numbers. Raises ValueError where they do not fit into memory."""
        dtype, sizes = self.dtype or torch.get_default_dtype(), " × ".join(map(str, shape))
        needed = math.prod(shape) * dtype.itemsize
        remedy = "give a smaller depth, width or number"
        check_memory(f"weights of shape {sizes}", needed, remedy, self.device)
        return torch.empty(shape, dtype=dtype, device=self.device)

    def rademacher_(self, out: Tensor) -> Tensor:
        """Fill with signs, +1 or -1 with probability 1/2 each."""
        if out.device.type != "cpu":
            return out.bernoulli_(0.5, generator=self.torch).mul_(2.0).sub_(1.0)
        bits = np.frombuffer(self.numpy.bytes((out.numel() + 7) // 8), dtype=np.uint8)
        signs = np.unpackbits(bits, count=out.numel()).reshape(out.shape)
        out.copy_(torch.from_numpy(signs))
        return out.mul_(2.0).sub_(1.0)


def stream(seed: int, *key: object, device: torch.device | str = "cpu") -> Stream:
    """The stream of this name.

    Args:
        seed: a non-negative integer.
        key: what the numbers are for: strings, numbers, containers, arrays, functions of modules, dataclasses
            of these, and objects whose `repr` says what they are.
        device: where the tensors live that it will fill.

    Raises:
        ValueError: the seed is not a non-negative integer, or something in the key has no name that is the
            same in every process.
    """
    return Stream(_sequence(seed, key), device)


def generator(seed: int, *key: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator of this name, for torch's own samplers.

    Example:
        >>> torch.randn(2, generator=generator(0, "input")).shape
        torch.Size([2])
    """
    return _torch_generator(_sequence(seed, key), torch.device(device))


def as_stream(source: torch.Generator | Stream | None, device: torch.device | str = "cpu") -> Stream:
    """A stream seeded by numbers from `source`, torch's default generator if None; streams pass through."""
    if isinstance(source, Stream):
        return source
    where = source.device if source is not None else "cpu"
    words = torch.randint(0, 2**32, (8,), dtype=torch.int64, generator=source, device=where)
    return Stream(np.random.SeedSequence(words.tolist()), device)


def check_seed(seed: int) -> int:
    """The seed as an int. Raises ValueError unless it is a non-negative integer."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer, got {seed!r}; give for example 0")
    return int(seed)


def _sequence(seed: int, key: tuple[object, ...]) -> np.random.SeedSequence:
    name = stable_name((check_seed(seed), *key))
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.SeedSequence(np.frombuffer(digest, dtype=np.uint32).tolist())


def _torch_generator(sequence: np.random.SeedSequence, device: torch.device) -> torch.Generator:
    result = torch.Generator(device)
    result.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    if device.type == "cpu":
        state = result.get_state()
        words = sequence.generate_state(624, np.uint32).astype(np.int64)
        state[_TWISTER] = torch.from_numpy(words).view(torch.uint8)
        result.set_state(state)
    return result


def _array(out: Tensor) -> np.ndarray:
    if not out.is_contiguous() or out.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"random numbers fill contiguous float32 or float64 tensors, got {out.dtype}")
    return out.numpy()


@contextlib.contextmanager
def seeded(seed: int, *key: object) -> Iterator[None]:
    """Inside, the global random states of torch, NumPy and `random` are those of this name; then as before.

    For code of someone else's, which draws from them.
    """
    numbers = _sequence(seed, key).generate_state(3, np.uint64)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=started_devices()):
        seed_torch(int(numbers[0] >> np.uint64(1)))
        np.random.seed(int(numbers[1] >> np.uint64(32)))  # noqa: NPY002
        random.seed(int(numbers[2]))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def seed_torch(number: int) -> None:
    """Seed torch's global generators, those of `started_devices`.

    Not by `torch.manual_seed`: that also seeds devices whose states nobody puts back, and keeps a stack trace
    of each call until CUDA starts.
    """
    torch.default_generator.manual_seed(number)
    if started_devices():
        torch.cuda.manual_seed_all(number)


def started_devices() -> list[int]:
    """The CUDA devices, if CUDA has started."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
