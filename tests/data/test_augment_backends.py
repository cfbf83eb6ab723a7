"""The same draws give the same pixels on torch, jax and tensorflow: each backend computes in a process of its own."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from kcnn.data.augment.operations import AUGMENTATIONS

SHAPES = {"rgb": (32, 32, 3), "grey": (28, 28, 1), "wide": (9, 14, 3)}
LISTS = {
    **{name: {name: row.default} for name, row in AUGMENTATIONS.items()},
    "crop and flip": {"crop": 4, "flip": 0.5},
    "reflected": {"reflect_crop": 4, "alternating_flip": 1},
    "bent": {"shift": 2, "rotation": 10, "scale": 0.1, "elastic": 0.8},
    "all": {name: row.default for name, row in AUGMENTATIONS.items()},
}

COMPUTE = """
import sys
import numpy as np
from kcnn.machine.backend import select
select(sys.argv[1], "cpu")
from keras import ops
from kcnn.data.augment import operations as augment
from kcnn.data.batches import TrainingBatches
from kcnn.data.dataset import Split
from test_augment_backends import LISTS, SHAPES, fits

found = {}
for kind, shape in SHAPES.items():
    images = np.random.default_rng(0).integers(0, 256, (24, *shape), np.uint8)
    labels = np.arange(24) % 3
    for name, chosen in LISTS.items():
        steps = augment.draw(fits(chosen, shape), 24, shape, np.random.default_rng((7, 1, 2)))
        rows = np.eye(3, dtype="float32")[labels]
        done = augment.apply(ops.convert_to_tensor(images), ops.convert_to_tensor(rows), steps)
        for part, value in zip(("images", "targets"), done):
            found[f"{kind}/{name}/{part}"] = ops.convert_to_numpy(value)
    chosen = {"reflect_crop": 2, "rotation": 10, "elastic": 1, "alternating_flip": 1, "mixup": 1}
    split = Split(images, labels)
    batches = TrainingBatches(split, 3, 10, epochs=2, seed=5, augment=chosen, label_smoothing=0.1)
    for step in range(batches.num_batches):
        for part, value in zip(("images", "targets"), batches[step]):
            found[f"{kind}/batch {step}/{part}"] = ops.convert_to_numpy(value)
np.savez(sys.argv[2], **found)
"""


def fits(chosen, shape):
    """Those that images of this shape can take."""
    return {name: value for name, value in chosen.items() if not (name == "saturation" and shape[2] == 1)}


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Runs `COMPUTE` once a backend: `computed("jax")` → name → array."""
    known = {}

    def run(backend):
        if importlib.util.find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")
        if backend not in known:
            file = tmp_path_factory.mktemp("pixels") / f"{backend}.npz"
            environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__), "TF_CPP_MIN_LOG_LEVEL": "3"}
            environment["KERAS_BACKEND"] = backend
            subprocess.run([sys.executable, "-c", COMPUTE, backend, file], check=True, env=environment, timeout=300)
            known[backend] = dict(np.load(file))
        return known[backend]

    return run


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
@pytest.mark.parametrize("name", [*LISTS, "batch 0", "batch 2", "batch 5"])
def test_pixels_are_the_same_as_on_torch(computed, backend, name):
    ours, torchs = computed(backend), computed("torch")
    for kind in SHAPES:
        images, targets = (f"{kind}/{name}/{part}" for part in ("images", "targets"))
        assert ours[images].dtype == np.uint8
        np.testing.assert_array_equal(ours[images], torchs[images])
        np.testing.assert_allclose(ours[targets], torchs[targets], rtol=0, atol=1e-7)
