"""Whether half the bits pay on this machine: a convolution forward and back in float32 and in bfloat16, in turns."""

import time

SECONDS = 1.0  # that the measurement takes, about
PAYS = 1.2  # a whole step gains less than its convolutions


def speedup(device: str) -> float:
    """How many times as fast bfloat16 is as float32: the best turn of each, on a device of torch's."""
    import torch
    import torch.nn.functional as F

    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    images = torch.randn(16, 64, 32, 32, device=device).to(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3, device=device)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times[torch.bfloat16]) < 3:  # the first turn of each warms up
        for dtype, seconds in times.items():
            x, w = (value.to(dtype).requires_grad_() for value in (images, kernel))
            begun = time.perf_counter()
            gradients = torch.autograd.grad(F.conv2d(x, w, padding=1).sum(), (x, w))
            float(gradients[1].flatten()[0])  # waits for a graphics card
            seconds.append(time.perf_counter() - begun)
    return min(times[torch.float32]) / min(times[torch.bfloat16])


def verdict(faster: float) -> str:
    """The sentence for people."""
    if faster >= PAYS:
        return f"{faster:.1f} times as fast as float32: --precision mixed_bfloat16 pays"
    return f"{faster:.1f} times as fast as float32: stay with float32"
