"""scikit-learn's bundled handwritten digits: 1,797 real images, no download."""

from pathlib import Path

import numpy as np

from kcnn.data.dataset import Dataset, Reading, Split, channel_statistics, stratified


def missing(name: str, data_dir: Path) -> list[Path]:
    """Never any: they come with scikit-learn."""
    return []


def load(name: str, data_dir: Path, reading: Reading) -> Dataset:
    """The digits in MNIST's form, 28×28×1: enlarged from 8×8 to 20×20 and centred. One fifth, fixed, is for testing."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.zeros((len(digits.images), 28, 28, 1), np.uint8)
    for image, small in zip(images, digits.images, strict=True):
        large = Image.fromarray((small * (255 / 16)).astype(np.uint8)).resize((20, 20), Image.Resampling.BILINEAR)
        image[4:24, 4:24, 0] = np.asarray(large)
    everything = Split(images, digits.target.astype(np.int64))
    train, test = (everything.take(part) for part in stratified(everything.labels, 0.2, seed=0))
    return Dataset(train, test, list("0123456789"), *channel_statistics(train.images))
