"""The processes that share a training, and gradients that are added up in one order, whoever computed them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, distributed

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
PATIENCE = timedelta(minutes=30)  # with a process that is alive and says nothing: it may be writing to a slow disk


@dataclass(frozen=True)
class Group:
    """This process's rank among `size` processes. Rank 0 leads: it alone observes, decides to stop and writes."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes what the others only compute."""
        return self.rank == 0

    def united(self, values: Tensor) -> Tensor:
        """Values each of which one process filled in and the others left at 0, bit by bit as they were."""
        if self.size == 1:
            return values
        bits = values.view(torch.int32)  # adding zeros to bits is exact, and keeps -0.0 and NaN
        distributed.all_reduce(bits)
        return bits.view(values.dtype)

    def told(self, number: int) -> int:
        """The number that rank 0 gives."""
        if self.size == 1:
            return number
        said = torch.tensor([number], device=_device())
        distributed.broadcast(said, 0)
        return int(said)


ALONE = Group()


@contextmanager
def joined(group: Group, device: str, meeting: Path, blame: Callable[[], None]) -> Iterator[None]:
    """Be one of the group's processes inside; they meet at a file that is not there before.

    RuntimeError where one of them dies, or does not answer for half an hour; `blame` is asked for a better one while
    the others can still be told apart.
    """
    if group.size == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(group.rank)
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    os.environ["GLOO_SOCKET_IFNAME"] = LOOPBACK  # nobody outside this machine can connect
    store = distributed.FileStore(os.fspath(meeting), group.size)
    backend = "nccl" if device == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, store=store, rank=group.rank, world_size=group.size, timeout=PATIENCE)
        yield
    except RuntimeError:
        blame()
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        if before is None:
            del os.environ["GLOO_SOCKET_IFNAME"]
        else:
            os.environ["GLOO_SOCKET_IFNAME"] = before


def forsake() -> None:
    """Let whoever waits for the others fail: one of them is gone. gloo notices by itself, nccl does not."""
    if distributed.is_initialized() and distributed.get_backend() == "nccl":
        distributed.group.WORLD.abort()


def _device() -> torch.device:
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


class Gradients:
    """The gradients of a step, added up over processes: the sum of each element is taken in the order of the ranks.

    Each process adds up a slice of all gradients, of which it gets everybody's part, and gives the sum to all. So an
    element costs two transfers for a sum over the whole group, and no tree of partial sums depends on its size.
    """

    def __init__(self, parameters: Iterable[Tensor], group: Group) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.group = group
        self.sum: Tensor | None = None

    def add(self, count: int) -> None:
        """Add the gradients that the first `count` processes have now, in order of rank, and clear them."""
        if self.group.size == 1:
            return
        sent = self._flat()
        received = torch.empty_like(sent)
        distributed.all_to_all_single(received, sent)
        for part in received.view(self.group.size, -1)[:count]:
            self.sum = part.clone() if self.sum is None else self.sum.add_(part)
        for parameter in self.parameters:
            parameter.grad = None

    def put(self) -> None:
        """Give every parameter the sum; one that had no gradient anywhere still has none."""
        if self.group.size == 1 or self.sum is None:
            return
        parts = [torch.empty_like(self.sum) for _ in range(self.group.size)]
        distributed.all_gather(parts, self.sum)
        whole, self.sum = torch.cat(parts), None
        sizes = [parameter.numel() for parameter in self.parameters]
        *values, known, _ = whole.split([*sizes, len(sizes), len(whole) - sum(sizes) - len(sizes)])
        for parameter, value, some in zip(self.parameters, values, known.tolist(), strict=True):
            parameter.grad = value.view_as(parameter).clone() if some else None

    def _flat(self) -> Tensor:
        """All gradients in a row, then 1 for each that there is, then zeros up to a multiple of the group's size."""
        parts = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in self.parameters
        ]
        known = torch.tensor([float(parameter.grad is not None) for parameter in self.parameters])
        flat = torch.cat([*(part.reshape(-1) for part in parts), known.to(parts[0].device)])
        return torch.nn.functional.pad(flat, (0, -len(flat) % self.group.size))
