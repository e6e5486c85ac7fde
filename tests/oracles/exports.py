"""Reads exported files back with the libraries that people use.

Called by `stdlib/ops/tests/exports.rs` as `exports.py FOLDER`; the folder holds
`objects.geojson`, `nuclei.parquet`, `again.geojson`, `again.parquet` (a second run) and
`expected.json`. Prints what was compared; any disagreement ends it with an error.
"""

import json
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

import geojson
import geopandas
import pyarrow.parquet
import pyogrio
import shapely

QUPATH_TYPES = {"annotation", "detection", "cell", "tile", "tmaCore", "root"}


def parse_object(feature):
    """Follows QuPath's rules for one feature (QuPathTypeAdapters): what QuPath would make of it."""
    assert feature["type"] == "Feature", feature
    identity = uuid.UUID(feature["id"])  # one that does not parse is dropped
    assert str(identity) == feature["id"] and identity.version == 8
    properties = feature["properties"]
    kind = properties.get("objectType") or properties.get("object_type") or properties.get("type")
    assert kind in QUPATH_TYPES, kind  # an unknown one becomes an annotation, with a warning each
    classification = properties["classification"]
    assert isinstance(classification["name"], str) and classification["name"]
    assert len(classification["color"]) == 3 and all(0 <= c <= 255 for c in classification["color"])
    measurements = properties["measurements"]
    assert isinstance(measurements, dict), "an object since 0.4"
    for name, value in measurements.items():
        assert isinstance(value, (int, float)) and value == value and abs(value) != float("inf"), (name, value)
    for ring in feature["geometry"]["coordinates"]:
        assert ring[0] == ring[-1] and len(ring) >= 4
        for x, y in ring:
            assert round(x, 2) == x and round(y, 2) == y, "two decimals"
    geometry = shapely.from_geojson(json.dumps(feature["geometry"]))
    children = [parse_object(child) for child in properties.get("childObjects", [])]
    return kind, identity, geometry, measurements, children


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


def check_geojson(folder, expected):
    text = (folder / "objects.geojson").read_text()
    assert text == (folder / "again.geojson").read_text(), "the same run writes the same bytes"
    collection = json.loads(text, parse_constant=refuse_constant)
    assert geojson.loads(text).is_valid
    objects = [parse_object(feature) for feature in collection["features"]]
    assert len(objects) == expected["count"], len(objects)
    assert {kind for kind, *_ in objects} <= {"detection"}
    assert len({identity for _, identity, *_ in objects}) == len(objects), "an identity twice"
    for _, _, geometry, measurements, _ in objects:
        assert geometry.is_valid and geometry.area > 0
        # What QuPath does on import; it throws on what is invalid then.
        snapped = shapely.set_precision(geometry, 0.01, mode="pointwise")
        assert snapped.is_valid and snapped.equals(geometry), geometry
        assert measurements["Area µm^2"] > 0
    frame = geopandas.read_file(folder / "objects.geojson", engine="pyogrio")
    assert len(frame) == expected["count"]
    assert len(pyogrio.read_dataframe(folder / "objects.geojson")) == expected["count"]
    return {str(identity): geometry for _, identity, geometry, *_ in objects}


def check_parquet(folder, expected, objects):
    path = folder / "nuclei.parquet"
    assert path.read_bytes() == (folder / "again.parquet").read_bytes(), "the same run writes the same bytes"
    file = pyarrow.parquet.ParquetFile(path)
    metadata = file.metadata.metadata
    geo, cerb = json.loads(metadata[b"geo"]), json.loads(metadata[b"cerb"])
    column = geo["columns"][geo["primary_column"]]
    assert geo["version"] == "1.1.0" and column["encoding"] == "WKB" and column["geometry_types"] == ["Polygon"]
    assert "crs" in column and column["crs"] is None, "left out it means degrees"
    assert cerb["slide"] == expected["slide"] and cerb["mpp"] == expected["mpp"]
    frame = geopandas.read_parquet(path)
    assert frame.crs is None and len(frame) == expected["count"]
    assert frame.geometry.is_valid.all() and frame["id"].is_unique
    for identity, geometry in zip(frame["id"], frame.geometry):
        assert geometry.equals(objects[identity]), identity
    total = frame.total_bounds
    assert list(total) == column["bbox"], (total, column["bbox"])
    for name, values in zip(("xmin", "ymin", "xmax", "ymax"), frame.bounds.to_numpy().T):
        assert column["covering"]["bbox"][name] == ["bbox", name]
        stored = file.read(columns=["bbox"]).column("bbox").combine_chunks().field(name).to_numpy()
        assert (stored == values).all(), name
    # The covering lets readers leave out what lies elsewhere.
    middle = ((total[0] + total[2]) / 2, (total[1] + total[3]) / 2)
    part = geopandas.read_parquet(path, bbox=(total[0], total[1], *middle))
    inside = frame[frame.intersects(shapely.box(total[0], total[1], *middle))]
    assert 0 < len(part) < len(frame) and set(inside["id"]) <= set(part["id"])
    # A folder of such files, a cohort's, is one table.
    with tempfile.TemporaryDirectory() as cohort:
        for name in ("a", "b"):
            shutil.copy(path, Path(cohort) / f"{name}.parquet")
        both = geopandas.read_parquet(cohort)
        assert len(both) == 2 * len(frame) and both.crs is None
    area = frame.geometry.area.sum() * expected["mpp"] ** 2
    # Outlines run through pixel centres, so they hold less than their pixels.
    assert 0.5 < area / frame["area_um2"].sum() < 1.0, area
    return file.metadata.num_row_groups


def main():
    folder = Path(sys.argv[1])
    expected = json.loads((folder / "expected.json").read_text())
    objects = check_geojson(folder, expected)
    groups = check_parquet(folder, expected, objects)
    print(f"{len(objects)} objects read back alike from GeoJSON and GeoParquet ({groups} row groups)")


main()
