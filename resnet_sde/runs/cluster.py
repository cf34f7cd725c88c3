"""Workers of a Dask cluster, as an executor. The only module that knows Dask, and only when it is used."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from types import FunctionType
from typing import Any

from typing_extensions import override

from resnet_sde.runs.agreement import (
    Changed,
    Packing,
    packed_error,
    set_as_there,
    settings_of,
    unpacked_error,
)

LOCAL = "local"
CLUSTER = "workers of a Dask cluster instead: local, or tcp://HOST:PORT (needs the extra cluster)"
Answer = tuple[list[Any], BaseException | None]
"""What work makes of each task of a batch, up to one that fails, and that failure."""

_OF_A_LOST_SCHEDULER = (OSError, CancelledError, asyncio.CancelledError, GeneratorExit)
_PATIENCE = 30.0  # seconds that the scheduler and its first worker may take to answer
_LOOKS = 1.0  # seconds between looks whether there is still a scheduler to fetch a result from
_REMEDY = "start the workers again, in the environment and with the files of this process"


class Cluster(Executor):
    """The workers of a Dask cluster.

    What all tasks share is sent once, and fetched once by every worker. Functions of the script that asks are
    sent by value; those of modules by name, and a worker that has another version of one, or of a library,
    or another kind of processor, refuses: it would not give the same bits. A worker that dies is replaced by
    another one, by Dask.

    Args:
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``; ``local`` starts one here, with workers.
        workers: processes of one thread each, for ``local`` alone.

    Raises:
        ValueError: there is no scheduler at this address, it has no workers, or Dask is not installed.
    """

    def __init__(self, address: str = LOCAL, *, workers: int = 2) -> None:
        distributed = _distributed()
        self._local = None
        if address == LOCAL:
            self._local = address = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR
            )
        try:
            self.client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
            self.client.wait_for_workers(1, timeout=_PATIENCE)
        except (OSError, ValueError) as error:
            self.shutdown()
            raise ValueError(
                f"the cluster at {address} does not answer: {error or type(error).__name__}; give the "
                "address of a Dask scheduler that has workers, such as tcp://10.0.0.1:8786, or local"
            ) from error

    @property
    def size(self) -> int:
        """Threads of all workers that there are now."""
        with _explained():
            return sum(self.client.nthreads().values())

    @override
    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let a worker call a function. See `Executor.submit`."""
        return self._sender(_call, function, _only)([(args, kwargs)])

    def shared(
        self, work: Callable[[Any, Any], Any], shared: object
    ) -> Callable[[Sequence[Any]], Future[Answer]]:
        """A function that submits batches of tasks of one kind of work, whose shared part is sent once."""
        return self._sender(work, shared, lambda answer: answer)

    def _sender(
        self, work: Callable[[Any, Any], Any], shared: object, take: Callable[[Answer], Any]
    ) -> Callable[[Sequence[Any]], Future[Any]]:
        packing = Packing(_pickler())
        content = b"".join(_packed(packing, (work, shared)))
        name = sha256(content).hexdigest()
        with warnings.catch_warnings(), _explained():
            warnings.filterwarnings("ignore", "Sending large graph")  # it is sent once
            there = self.client.submit(_same, content, pure=False)
        settings = pickle.dumps(_settings())

        def submit(batch: Sequence[Any]) -> Future[Any]:
            packed = b"".join(_packed(packing, batch))
            with _explained():
                remote = self.client.submit(_remote, settings, name, there, packed, pure=False)
                future: Future[Any] = Future()
                future.add_done_callback(lambda done: _give_up(remote) if done.cancelled() else None)
                self.client.loop.add_callback(_deliver, remote, future, take)
            return future

        return submit

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; one that was started here ends."""
        if hasattr(self, "client"):
            self.client.close()
        if self._local is not None:
            self._local.close()


@contextmanager
def engine(address: str | None, workers: int) -> Iterator[dict[str, Any]]:
    """The arguments `workers` and `executor` that the options --cluster and --workers ask for.

    Raises:
        ValueError: both are given, or as `Cluster` does.
    """
    if address is None:
        yield {"workers": workers}
        return
    if address != LOCAL and workers > 1:
        raise ValueError("--workers are local processes; leave it out with the address of a cluster")
    with Cluster(address, workers=workers) as executor:
        yield {"executor": executor}


async def _deliver(remote: Any, future: Future[Any], take: Callable[[Answer], Any]) -> None:
    """Give what becomes of a future of Dask to one of Python.

    An error of fetching it too: Dask's own executor loses those, and its futures are never done.
    """
    result, failure = None, None
    try:
        with _explained():
            answer = await _fetched(remote)
        result = take(_read(answer))
    except BaseException as error:
        failure = error
    if not future.set_running_or_notify_cancel():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)


async def _fetched(remote: Any) -> Any:
    """Its result. Dask would ask a scheduler that is gone, and has lost it, for half a minute."""
    fetching = asyncio.ensure_future(remote.result())
    while not (await asyncio.wait([fetching], timeout=_LOOKS))[0]:
        if remote.status == "cancelled":
            fetching.cancel()
    return await fetching


def _give_up(remote: Any) -> None:
    if remote.status != "cancelled":
        remote.cancel()


def _read(answer: tuple[Sequence[bytes], bytes | None]) -> Answer:
    """What `_remote` answers."""
    results, failure = answer
    try:
        return [pickle.loads(each) for each in results], None if failure is None else unpacked_error(failure)
    except Exception as error:  # pickle raises whatever the object raises
        return [], RuntimeError(f"what a worker of the cluster sent cannot be read here: {error}")


def _only(answer: Answer) -> Any:
    (result,), failure = answer[0] or [None], answer[1]
    if failure is not None:
        raise failure
    return result


@contextmanager
def _explained() -> Iterator[None]:
    """Errors that are Dask's own, as sentences; any other ones as they are."""
    try:
        yield
    except BaseException as error:
        name = type(error).__name__
        if name == "KilledWorker":
            raise RuntimeError(
                "workers of the cluster died again and again at the same piece of work, for lack of memory "
                "perhaps; give them more, or smaller pieces"
            ) from error
        if isinstance(error, _OF_A_LOST_SCHEDULER) or name == "ClosedClientError":
            raise RuntimeError(
                "the scheduler of the cluster is gone, or gave this work up; what was finished is kept, and "
                "the same request goes on from there"
            ) from error
        raise


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise ValueError(
            f"a cluster needs Dask, which cannot be imported: {error}; pip install resnet_sde[cluster]"
        ) from error


@lru_cache(maxsize=1)
def _pickler() -> Callable[[io.BytesIO, int], Any]:
    """Sends by value what the script that asks defines, as workers do not run it; notes other names."""
    cloudpickle: Any = import_module("cloudpickle")  # comes with Dask

    class ByValue(cloudpickle.Pickler):
        def __init__(self, file: io.BytesIO, protocol: int) -> None:
            super().__init__(file, protocol)
            self.named: list[object] = []

        def reducer_override(self, thing: Any) -> Any:
            reduced = super().reducer_override(thing)
            if reduced is NotImplemented and isinstance(thing, (FunctionType, type)):
                self.named.append(thing)
            return reduced

    return ByValue


def _packed(packing: Packing, thing: object) -> Sequence[bytes]:
    try:
        return packing.pack(thing)
    except Exception as error:  # pickle raises whatever the object raises
        raise ValueError(f"this work cannot be sent to a cluster: {error}; give workers=1") from error


def _settings() -> dict[str, Any]:
    """What a worker must have in common with this process, and what it is told."""
    import torch

    from resnet_sde.runs.identity import environment

    return {"environment": environment(), "torch": settings_of(torch)}


def _call(task: tuple[Sequence[Any], Mapping[str, Any]], function: Callable[..., Any]) -> Any:
    args, kwargs = task
    return function(*args, **kwargs)


# In a worker


def _same(content: bytes) -> bytes:
    """A task, so that the scheduler can have it done again when a worker that had the content is gone."""
    return content


def _remote(settings: bytes, name: str, content: bytes, batch: bytes) -> tuple[list[bytes], bytes | None]:
    """An `Answer` of a worker that is the same as the process that asks.

    All of it is pickled here: what Dask cannot send, or the other end not read, it would ask for for ever.
    """
    results: list[bytes] = []
    dumps = import_module("cloudpickle").dumps
    try:
        packing = _prepared(settings)
        work, shared = _unpacked(packing, name, content)
        for task in packing.unpack(io.BytesIO(batch)):
            results.append(_sendable(work(task, shared), dumps))
    except Changed as error:
        failure: BaseException = RuntimeError(
            f"{error} is not the same in a worker of the cluster as in the process that asks; {_REMEDY}"
        )
    except BaseException as error:
        failure = error
    else:
        return results, None
    return results, packed_error(failure, dumps)


def _sendable(result: object, dumps: Callable[[object], bytes]) -> bytes:
    try:
        return dumps(result)
    except Exception as error:  # pickle raises whatever the object raises
        raise ValueError(
            f"a result cannot be sent back by a worker of the cluster: {error}; give workers=1"
        ) from error


_LAST: dict[str, tuple[Any, Any]] = {}  # the work under way, unpacked; threads of a worker share it


def _unpacked(packing: Packing, name: str, content: bytes) -> tuple[Any, Any]:
    if name not in _LAST:
        found = packing.unpack(io.BytesIO(content))
        _LAST.clear()
        _LAST[name] = found
        return found
    return _LAST[name]


@lru_cache(maxsize=4)
def _prepared(settings: bytes) -> Packing:
    """Torch as in the process that asks. Raises RuntimeError if this worker would not give the same bits."""
    import torch

    from resnet_sde.runs.identity import environment

    asked = pickle.loads(settings)
    set_as_there(torch, asked["torch"])
    here, there = environment(), asked["environment"]
    others = [key for key in {**there, **here} if here.get(key) != there.get(key)]
    if others:
        told = "; ".join(f"{key} {here.get(key)} there, {there.get(key)} here" for key in others)
        raise RuntimeError(f"a worker of the cluster would not give the same bits ({told[:300]}); {_REMEDY}")
    return Packing()
