"""`kcnn predict`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, backend, data_dir, device, new_file, print_json, print_table, say, tta, write_csv
from kcnn.cli.source import check_source, is_weights_file, open_source, source_options
from kcnn.errors import KcnnError, UsageError, first_ten, printable, shown


@click.command("predict")
@click.argument("names", nargs=-1, metavar="[RUN] PATH...")
@source_options
@click.option("--dataset", default="", metavar="NAME", help="Classify the test images of a data set instead of PATHs.")
@click.option("--top", default=3, type=click.IntRange(min=1), help="Classes to show a picture.", show_default=True)
@click.option("--csv", "table", type=click.Path(path_type=Path), metavar="FILE", help="Write a row an image there.")
@tta
@data_dir
@backend
@device
@as_json
def command(
    names: tuple[str, ...],
    model: str,
    pretrained: str,
    settings: tuple[str, ...],
    dataset: str,
    top: int,
    table: Path | None,
    tta: tuple[str, ...],
    data_dir: str,
    backend: str,
    device: str,
    as_json: bool,
) -> None:
    """Classify images with RUN, or with a network that knows ImageNet.

    RUN is a run directory, a .keras file, or an .onnx file that kcnn exported.
    `kcnn predict --model resnet18 --pretrained photo.jpg` needs no training.

    PATHs are pictures, folders, patterns such as 'photos/*.jpg', and .npy or .npz files with uint8 images
    (n, height, width, channels). Pictures of any size are cut and resized to the model's input.
    """
    if not is_weights_file(pretrained):  # `--pretrained photo.jpg`: the picture is not its value
        names, pretrained = (pretrained, *names), "imagenet"
    run, paths = ("", names) if model or not names else (names[0], names[1:])
    from kcnn.data.registry import named_dataset
    from kcnn.results.prediction import predict

    source = check_source(run, model, pretrained, settings)
    dataset, data_dir = named_dataset(dataset, data_dir)
    images = _find(paths, dataset)
    if table is not None:
        new_file(table)
    network, class_names, preparation = _open(run, model, pretrained, source, backend, device)
    bad: list[str] = []
    rows = list(predict(network, class_names, _batches(images, dataset, data_dir, preparation, bad), top, tta))
    if rows:
        _write(rows, table, as_json)
    if bad:
        _tell(bad, len(rows))


def _find(paths: tuple[str, ...], dataset: str) -> list[Path]:
    """What is wrong with the names of the images is told before keras is imported."""
    from kcnn.data.picture_files import passed_over
    from kcnn.data.registry import DATASETS
    from kcnn.errors import unknown
    from kcnn.results.selection import find_images

    if bool(paths) == bool(dataset):
        raise UsageError("Name pictures, folders, patterns or arrays to classify, or else a data set with --dataset.")
    if dataset and dataset not in DATASETS:
        raise UsageError(unknown("data set", dataset, DATASETS))
    found = find_images(paths)
    if found.others:
        say(f"passed over {passed_over(found.others)}")
    return found.pictures


def _open(
    run: str, model: str, pretrained: str, source: dict[str, Any], backend: str, device: str
) -> tuple[Any, list[str], Any]:
    """(model, class names, the `Preparation` of its pictures)."""
    if run.lower().endswith(".onnx"):
        from kcnn.data.preparation import Preparation
        from kcnn.results.onnx_model import OnnxModel

        network = OnnxModel(Path(run))
        return network, network.class_names, Preparation.of(network.input_shape[1:], network.info)
    from kcnn.machine.backend import INFERENCE, select

    select(backend, device, allowed=INFERENCE)
    from kcnn.native.acceleration import accelerate

    network, class_names, preparation = open_source(run, model, pretrained, source)
    accelerate(network)
    return network, class_names, preparation


def _batches(paths: list[Path], dataset: str, data_dir: str, preparation: Any, bad: list[str]) -> Iterator[Any]:
    from kcnn.data.registry import load_dataset
    from kcnn.results.prediction import count_images, dataset_batches, read_batches
    from kcnn.results.throughput import counting

    if not dataset:
        return counting(read_batches(paths, preparation, bad), count_images(paths))
    found = load_dataset(dataset, data_dir, preparation.shape[0])
    return counting(dataset_batches(dataset, found.test, found.class_names, preparation.shape), len(found.test))


def _write(rows: list[dict[str, Any]], table: Path | None, as_json: bool) -> None:
    if table is not None:
        write_csv(table, [_flat(row) for row in rows])
    if as_json:
        print_json(rows)
    elif table is not None:
        click.echo(table)
    else:
        print_table([(row["path"], _ranking(row["top"])) for row in rows], ("picture", "classes"))


def _tell(bad: list[str], good: int) -> None:
    """All that could not be read: a line for each where they are many, and an error."""
    for sentence in bad if len(bad) > 10 else ():
        say(printable(sentence))
    raise KcnnError(f"{first_ten(bad, ' ')} Classified without {'it' if len(bad) == 1 else 'them'}: {good:,}.")


def _ranking(top: list[dict[str, Any]]) -> str:
    return ", ".join(f"{shown(best['class'])} {best['probability']:.1%}" for best in top)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row for a table: path, true where it is known, class, probability, class_2, probability_2, …"""
    flat = {key: value for key, value in row.items() if key != "top"}
    for rank, best in enumerate(row["top"], start=1):
        end = "" if rank == 1 else f"_{rank}"
        flat |= {f"class{end}": best["class"], f"probability{end}": f"{best['probability']:.6f}"}
    return flat
