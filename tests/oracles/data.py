"""Writes annotated data with the libraries that published sets were written with, and reads ours with them.

    python data.py COMMAND FOLDER

`write-npy` writes arrays with NumPy, `write-mat` label maps with SciPy and h5py, `dataset` opens a published dataset. Exits with 1, and says what, if anything differs.
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


def labels():
    return (np.arange(17 * 23) % 100).reshape(17, 23), np.arange(1, 100).reshape(-1, 1)


def write_mat(folder: Path) -> None:
    import h5py
    import scipy.io

    ids, numbers = labels()
    kinds = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
    for kind, packed in itertools.product(kinds, [False, True]):
        variables = {"inst_map": ids.astype(kind), "id": numbers.astype(kind)}
        name = f"v5_{kind}_{packed}.mat"
        scipy.io.savemat(folder / name, variables, do_compression=packed)
    # MATLAB writes the axes in reverse, behind a block of 512 bytes.
    options = [{}, {"chunks": (8, 5)}, {"chunks": (8, 5), "compression": "gzip", "shuffle": True}]
    options.append({"chunks": (50, 50), "maxshape": (None, None), "compression": "gzip", "fletcher32": True})
    for kind, (i, option), libver in itertools.product(["u1", ">i2", "u4", "f8"], enumerate(options), ["earliest", "v108"]):
        bounds = ("earliest", "v108") if libver == "earliest" else ("v108", "v108")
        with h5py.File(folder / f"v73_{kind.strip('>')}_{i}_{libver}.mat", "w", userblock_size=512, libver=bounds) as file:
            file.create_dataset("inst_map", data=ids.T.astype(kind), **option)
            file.create_dataset("id", data=numbers.T.astype(kind))
            file.create_group("#refs#").create_dataset("a", data=[1])
            file.create_dataset("name", data=np.frombuffer(b"a\0b\0", np.uint16))
    with h5py.File(folder / "many.mat", "w") as file:
        for i in range(300):
            file[f"other_{i}"] = i
        file.create_dataset("inst_map", data=ids.T, chunks=(1, 1), compression="gzip")
        file["id"] = numbers.T


def write_small(folder: Path) -> None:
    """Writes the file that is committed, for tests without Python."""
    import h5py

    ids, numbers = labels()
    with h5py.File(folder / "small-v73.mat", "w", userblock_size=512, libver=("earliest", "v108")) as file:
        file.create_dataset("inst_map", data=ids.T.astype("u1"), chunks=(16, 16), compression="gzip", shuffle=True)
        file.create_dataset("id", data=numbers.T.astype("i2"))


def write_nested_mat(folder: Path) -> None:
    import scipy.io
    import scipy.sparse

    boxes = np.empty((1, 2), object)
    boxes[0, 0], boxes[0, 1] = np.array([1, 2, 3]), np.array([4])
    variables = {
        "s": {"name": "gland", "boxes": boxes},
        "z": np.array([1 + 2j]),
        "sparse": scipy.sparse.eye(3, format="csc"),
    }
    scipy.io.savemat(folder / "nested.mat", variables)


def write_latest_mat(folder: Path) -> None:
    import h5py

    ids, _ = labels()
    with h5py.File(folder / "latest.mat", "w", libver="latest") as file:
        file.create_dataset("inst_map", data=ids.T, chunks=(8, 5), compression="gzip")


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


def write_external_mat(folder: Path) -> None:
    """Writes HDF5 whose numbers lie in another file."""
    import h5py

    numbers = np.arange(12, dtype="<i4").reshape(3, 4)
    (folder / "numbers.bin").write_bytes(numbers.tobytes())
    with h5py.File(folder / "external.mat", "w") as file:
        file.create_dataset(
            "inst_map", numbers.shape, "<i4", external=[(str(folder / "numbers.bin"), 0, numbers.nbytes)]
        )


def main() -> int:
    command, folder = sys.argv[1], Path(sys.argv[2])
    commands = {
        "write-npy": write_npy,
        "write-mat": write_mat,
        "write-small-mat": write_small,
        "write-nested-mat": write_nested_mat,
        "write-latest-mat": write_latest_mat,
        "write-external-mat": write_external_mat,
        "dataset": dataset,
    }
    commands[command](folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
