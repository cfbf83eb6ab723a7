"""Every kind of file that a command reads."""

import mutations
from data_readers import (
    make_cifar,
    make_mnist,
    make_npy,
    make_npz,
    make_picture,
    make_predictions,
    make_recipe,
    make_run,
    make_study,
    make_tensors,
    read_arrays,
    read_cifar10,
    read_cifar100,
    read_kept,
    read_mnist,
    read_picture,
    read_rows,
    read_run,
    read_tensors,
    read_toml,
)
from readers import make_keras, make_old_pth, make_onnx, make_pth, make_safetensors, read_keras, read_onnx, read_weights

# Kind → (make a file in an empty folder, damage its bytes, read it as the commands do).
KINDS = {
    "keras": (make_keras, mutations.damage_zip, read_keras),
    "onnx": (make_onnx, mutations.damage, read_onnx),
    "pth": (make_pth, mutations.damage_zip, read_weights),
    "pth-old": (make_old_pth, mutations.damage, read_weights),
    "safetensors": (make_safetensors, mutations.damage, read_weights),
    "npy": (make_npy, mutations.damage, read_arrays),
    "npz": (make_npz, mutations.damage_zip, read_arrays),
    **{kind: (make_picture(kind), mutations.damage, read_picture) for kind in ("jpg", "gif", "tif", "webp", "bmp")},
    "png": (make_picture("png"), mutations.damage_png, read_picture),
    "idx-images": (make_mnist("train-images-idx3-ubyte"), mutations.damage, read_mnist),
    "idx-labels": (make_mnist("t10k-labels-idx1-ubyte"), mutations.damage, read_mnist),
    "cifar10": (make_cifar("cifar10", "data_batch_3.bin"), mutations.damage, read_cifar10),
    "cifar10-names": (make_cifar("cifar10", "batches.meta.txt"), mutations.damage_text, read_cifar10),
    "cifar100": (make_cifar("cifar100", "test.bin"), mutations.damage, read_cifar100),
    "cifar100-names": (make_cifar("cifar100", "fine_label_names.txt"), mutations.damage_text, read_cifar100),
    "tensors": (make_tensors("test_data.pth"), mutations.damage_zip, read_tensors),
    "tensor-labels": (make_tensors("train_labels.pth"), mutations.damage_zip, read_tensors),
    "recipe": (make_recipe, mutations.damage_text, read_toml),
    "study": (make_study, mutations.damage_text, read_rows),
    "predictions": (make_predictions, mutations.damage_zip, read_kept),
    "log": (make_run("log.csv"), mutations.damage_text, read_run),
    "result": (make_run("result.json"), mutations.damage_json, read_run),
    "manifest": (make_run("manifest.json"), mutations.damage_json, read_run),
}
