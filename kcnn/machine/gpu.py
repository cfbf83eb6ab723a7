"""How busy the graphics card is: columns of the log where there is one."""

COLUMNS = ("gpu_memory", "gpu_utilization")


def usage() -> dict[str, float]:
    """The largest memory that torch has used since the last call (GiB), and the card's utilization now (%).

    Utilization is the share of the last second, or less, in which a kernel ran, as `nvidia-smi` shows it; it needs
    the package nvidia-ml-py and is left out without it. Without a CUDA device, or on another backend: nothing.
    """
    import keras

    if keras.backend.backend() != "torch":
        return {}
    import torch

    from kcnn.machine.keras_internals import torch_device

    device = torch_device()
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return {}
    memory = round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        return {"gpu_memory": memory, "gpu_utilization": float(torch.cuda.utilization(device))}
    except (ImportError, RuntimeError):  # no nvidia-ml-py, or a driver that does not tell
        return {"gpu_memory": memory}
