"""The engines are the same networks; the command measures and reports."""

import json

import pytest
from click.testing import CliRunner

from kcnn.bench.rounds import measure, parse_engines
from kcnn.bench.worker import SHAPES
from kcnn.cli import main
from kcnn.errors import UsageError
from kcnn.models.registry import MODELS, build_model


@pytest.mark.parametrize(
    "name", ["lenet5", "simple_cnn", "convnet", "alexnet", "resnet18", "resnet20", "resnet50", "vgg11", "speednet"]
)
def test_the_handwritten_networks_are_kcnns(name):
    from kcnn.bench.handwritten import network

    shape = SHAPES[MODELS[name].dataset]
    ours = build_model(name, shape, 10)
    theirs = network(name, shape[2], shape[0])
    expected = sorted(tuple(w.shape) for w in ours.trainable_weights)
    kernels = [
        tuple(p.shape[i] for i in {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[p.ndim])
        for p in theirs.parameters()
        if p.requires_grad
    ]
    assert sorted(kernels) == expected


@pytest.mark.parametrize("mode", ["train", "predict"])
def test_a_short_measurement(mode):
    report = measure("lenet5", 8, device="cpu", mode=mode, rounds=1, seconds=0.01, say=lambda line: None)
    assert set(report["engines"]) == {"kcnn", "pytorch", "keras"}
    assert report["precision"] == "float32"
    for row in report["engines"].values():
        assert 0 < row["images_per_second"]["min"] <= row["images_per_second"]["median"]
        assert row["peak_memory_mb"] > 0
    assert report["ratio_to_pytorch"] > 0
    json.dumps(report)


def test_unknown_names_are_told():
    with pytest.raises(UsageError, match="pytorch"):
        parse_engines("kcnn,torch")
    for option in (["--model", "resnet"], ["--mode", "fit"], ["--precision", "half"]):
        assert CliRunner().invoke(main, ["bench", *option]).exit_code == 2
