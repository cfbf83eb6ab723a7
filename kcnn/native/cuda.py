"""On CUDA a training step is compiled, then recorded once and replayed: no Python, and no waiting, between kernels."""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
log = logging.getLogger("kcnn")

WARM_UP = 3  # steps that run as they are before one is recorded: they compile, and choose cuDNN's algorithms


def compiled(program: Callable[..., Any]) -> Callable[..., Any]:
    """The program with its small kernels fused by torch.compile; what cannot be compiled runs as it is."""
    fast = torch.compile(program, dynamic=False)
    chosen: list[Callable[..., Any]] = [fast]

    def run(*inputs: Tensor) -> Any:
        try:
            return chosen[0](*inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            if chosen[0] is program:
                raise
            log.info("torch.compile does not take this model (%s); it runs without.", str(error).partition("\n")[0])
            chosen[0] = program
            return program(*inputs)

    return run


class Recorded:
    """A step, replayed as one CUDA graph for batches of a shape that has been seen `WARM_UP` times.

    Args:
        step: takes a list of inputs and the targets; works in place and never reads from the device. Everything that
            changes between steps, such as the learning rate, must be a tensor.
    """

    def __init__(self, step: Callable[[Sequence[Tensor], Tensor], None]) -> None:
        self.step = step
        self.seen: Counter[Any] = Counter()
        self.graphs: dict[Any, tuple[torch.cuda.CUDAGraph, list[Tensor]]] = {}
        self.stream = torch.cuda.Stream()

    def __call__(self, inputs: Sequence[Tensor], targets: Tensor) -> None:
        """Run the step on this batch."""
        batch = [*inputs, targets]
        key = tuple((tuple(part.shape), part.dtype) for part in batch)
        self.seen[key] += 1
        if self.seen[key] <= WARM_UP:
            self._aside(batch)
            return
        if key not in self.graphs:
            try:
                self.graphs[key] = self._record(batch)
            except RuntimeError as error:  # nothing of it has run
                log.info("A step cannot be recorded (%s); it runs as it is.", str(error).partition("\n")[0])
                self.seen[key] = -sys.maxsize
                return self._aside(batch)
        graph, held = self.graphs[key]
        torch._foreach_copy_(held, batch)
        graph.replay()

    def _aside(self, batch: Sequence[Tensor]) -> None:
        """On a stream of its own, as what is to be recorded afterwards must have run."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.step(batch[:-1], batch[-1])
        torch.cuda.current_stream().wait_stream(self.stream)

    def _record(self, batch: Sequence[Tensor]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
        held = [part.clone() for part in batch]
        graph = torch.cuda.CUDAGraph()
        pool = next((graph.pool() for graph, _ in self.graphs.values()), None)
        # Keras reads the logs of earlier steps in another thread, which must not spoil the recording.
        with torch.cuda.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"):
            self.step(held[:-1], held[-1])
        return graph, held
