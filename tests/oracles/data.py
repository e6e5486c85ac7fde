"""Writes annotated data with the libraries that published sets were written with, and reads ours with them.

    python data.py COMMAND FOLDER

`write-npy` writes arrays with NumPy, `dataset` opens a published dataset. Exits with 1, and says what, if anything differs.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np


def write_npy(folder: Path) -> None:
    kinds = ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"]
    for kind, end, order, version in itertools.product(kinds, "<>", "CF", [(1, 0), (3, 0)]):
        values = np.arange(24).reshape(2, 3, 4)
        if kind == "bool":
            values = values % 2
        elif kind[0] != "u":
            values = values - 12
        dtype = np.dtype("bool") if kind == "bool" else np.dtype(end + kind)
        values = np.asarray(values.astype(dtype), order=order)
        name = f"{kind}_{'le' if end == '<' else 'be'}_{order}_{version[0]}.npy"
        with open(folder / name, "wb") as file:
            np.lib.format.write_array(file, values, version=version)
    a = np.arange(1, 7, dtype=np.uint16).reshape(2, 3)
    np.savez(folder / "stored.npz", a=a, b=np.array([0.5]))
    np.savez_compressed(folder / "packed.npz", a=np.asfortranarray(a), b=np.array([0.5]))


def dataset(folder: Path) -> None:
    from PIL import Image

    header = json.loads((folder / "dataset.json").read_text())
    assert header["about"]["notes"] == ["synthetic"]
    for sample in header["samples"]:
        image = np.asarray(Image.open(folder / "images" / f"{sample['id']}.png"))
        assert image.shape == (sample["height"], sample["width"], 3) and image.dtype == np.uint8
        with np.load(folder / "labels" / f"{sample['id']}.npz") as labels:
            assert sorted(labels) == sorted(sample["counts"])
            for channel, counts in sample["counts"].items():
                array = labels[channel]
                assert array.dtype == np.int32
                assert array.shape in [image.shape[:2], (1, 1)]
                if channel.endswith("-INST"):
                    assert [len(set(array.ravel().tolist()) - {0})] == counts, channel
        if sample["mask"]:
            mask = np.asarray(Image.open(folder / "masks" / f"{sample['id']}.png"))
            assert mask.shape == image.shape[:2] and mask.min() == 255
    assert len(header["samples"]) == 2


def main() -> int:
    command, folder = sys.argv[1], Path(sys.argv[2])
    {"write-npy": write_npy, "dataset": dataset}[command](folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
