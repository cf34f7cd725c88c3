"""Bugs in the streams of random numbers and their names."""

import copy
from collections.abc import Callable

from torch import Tensor

from mutants import Patch, caught_by
from resnet_sde import monte_carlo
from resnet_sde.streams import Stream


@caught_by("mean-variation")
def seed_reuse(patch: Patch) -> None:
    """Every layer draws the numbers of the first one again."""
    _restart(patch, lambda draw: draw > 0)


@caught_by("independent-matrices")
def weights_from_the_stream_of_inputs(patch: Patch) -> None:
    """What is drawn after the input layer starts with its numbers again."""
    _restart(patch, lambda draw: draw == 1)


def _restart(patch: Patch, when: Callable[[int], bool]) -> None:
    """A stream starts again before some of the tensors that it fills."""
    real = Stream.normal_

    def again(self: Stream, out: Tensor) -> Tensor:
        if not hasattr(self, "start"):
            self.start = (self.torch.get_state(), copy.deepcopy(self.numpy.bit_generator.state))
            self.draws = 0
        if when(self.draws):
            self.torch.set_state(self.start[0])
            self.numpy.bit_generator.state = self.start[1]
        self.draws += 1
        return real(self, out)

    patch.setattr(Stream, "normal_", again)


@caught_by("independent-networks")
def chunks_in_pairs(patch: Patch) -> None:
    """Two chunks share a stream."""
    _rename(patch, lambda seed, key: (seed, *key[:-1], key[-1] // 2))


@caught_by("independent-networks")
def depth_missing(patch: Patch) -> None:
    """The name of a stream leaves the depth out."""
    _rename(patch, lambda seed, key: (seed, *key[:2], *key[3:]))


@caught_by("independent-networks")
def seed_missing(patch: Patch) -> None:
    """The name of a stream leaves the seed out."""
    _rename(patch, lambda seed, key: (0, *key))


def _rename(patch: Patch, name: Callable[[int, tuple], tuple]) -> None:
    """Streams of `simulate`, whose key is (…, model, depth, …, chunk), have other names."""
    real = monte_carlo.stream
    patch.setattr(monte_carlo, "stream", lambda seed, *key, **where: real(*name(seed, key), **where))
