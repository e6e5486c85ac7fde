"""Recomputes the metrics crate's random cases with cellseg-metrics, SciPy and scikit-learn.

Usage: metrics.py SECTION FILE. The file is a JSON list of cases, written by
stdlib/metrics/tests/oracles.rs. Prints how many cases agree, or the first that does
not and fails.
"""

import json
import sys

import cellseg_metrics
import numpy as np
from scipy import ndimage, stats
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist
from sklearn import metrics

CROSS = ndimage.generate_binary_structure(2, 1)


def near(what, found, expected, bound=1e-9):
    if expected is None or found is None:
        assert found is None and expected is None, f"{what}: {found}, expected {expected}"
    else:
        assert abs(found - expected) <= bound, f"{what}: {found}, expected {expected}"


def jaccard(pairs, shared, union, areas):
    """Intersections over unions of chosen pairs, the rest of all objects added below."""
    below = sum(union[i, j] for i, j in pairs)
    below += sum(a for i, a in enumerate(areas[0]) if i not in {i for i, _ in pairs})
    below += sum(a for j, a in enumerate(areas[1]) if j not in {j for _, j in pairs})
    return sum(shared[i, j] for i, j in pairs) / below if below else None


def by_side(areas, value):
    """The mean of the objects' values by area; None without objects."""
    return sum(a * value(i) for i, a in enumerate(areas)) / sum(areas) if areas else None


def objects(case):
    maps = [np.array(case[name]) for name in ("truth", "predicted")]
    ids = [np.unique(m[m > 0]) for m in maps]
    masks = [[m == i for i in own] for m, own in zip(maps, ids)]
    assert [len(own) for own in ids] == case["objects"]
    areas = [[int(mask.sum()) for mask in own] for own in masks]
    shared = np.array([[(a & b).sum() for b in masks[1]] for a in masks[0]]).reshape(len(ids[0]), len(ids[1]))
    union = np.add.outer(areas[0], areas[1]).reshape(shared.shape) - shared
    iou = shared / np.maximum(union, 1)

    both = all(case["objects"])
    if both:
        # The package adds 1e-8 below each fraction.
        published = cellseg_metrics.panoptic_quality(*maps)
        for key in ("pq", "dq", "sq"):
            near(key, case[key], published[key], 1e-7)
    else:
        near("pq", case["pq"], 0.0 if any(case["objects"]) else None)

    total = sum(areas[0]) + sum(areas[1])
    near("dice", case["dice"], 2 * ((maps[0] > 0) & (maps[1] > 0)).sum() / total if total else 1.0)

    greedy = [(i, int(iou[i].argmax())) for i in range(len(ids[0])) if both and iou[i].max() > 0]
    near("aji", case["aji"], jaccard(greedy, shared, union, areas))
    best = [(i, j) for i, j in zip(*linear_sum_assignment(iou, maximize=True)) if iou[i, j] > 0]
    near("aji_plus", case["aji_plus"], jaccard(best, shared, union, areas))

    def side(areas, shared, value):
        partner = lambda i: int(shared[i].argmax()) if shared.shape[1] and shared[i].max() else None
        return by_side(areas, lambda i: value(i, partner(i)))

    dice = []
    for a, b, s in ((areas[0], areas[1], shared), (areas[1], areas[0], shared.T)):
        dice.append(side(a, s, lambda i, j: 0 if j is None else 2 * s[i, j] / (a[i] + b[j])) or 0)
    near("object_dice", case["object_dice"], sum(dice) / 2 if any(case["objects"]) else None)

    points = [[np.argwhere(m & ~ndimage.binary_erosion(m, CROSS)) for m in own] for own in masks]

    def distance(a, b):
        between = cdist(a, b)
        return max(between.min(0).max(), between.min(1).max())

    expected = None
    if both:
        sides = []
        for own, other, s, a in ((points[0], points[1], shared, areas[0]), (points[1], points[0], shared.T, areas[1])):
            value = lambda i, j: distance(own[i], other[j]) if j is not None else min(distance(own[i], p) for p in other)
            sides.append(side(a, s, value))
        expected = sum(sides) / 2
    near("hausdorff", case["hausdorff"], expected)

    centres = [np.array([ndimage.center_of_mass(m)[::-1] for m in own]).reshape(-1, 2) for own in masks]
    assert np.allclose(np.array(case["centroids"]).reshape(-1, 2), centres[0], atol=1e-9)
    for radius, found in zip((1.1, 2.6, 6.05), case["detected"]):
        # No two centres are exactly as far apart as these, so rounding decides nothing.
        near_enough = csr_matrix(cdist(*centres) <= radius) if both else None
        expected = int((maximum_bipartite_matching(near_enough) >= 0).sum()) if both else 0
        assert found == expected, f"detected within {radius}: {found}, expected {expected}"


def classes(case):
    truth, scores, predicted = (np.array(case[key]) for key in ("truth", "scores", "predicted"))
    labels = range(scores.shape[1])
    assert (scores.argmax(1) == predicted).all()
    assert metrics.confusion_matrix(truth, predicted, labels=labels).tolist() == case["confusion"]
    near("accuracy", case["accuracy"], metrics.accuracy_score(truth, predicted))
    there = np.unique(truth)
    recall = metrics.recall_score(truth, predicted, labels=there, average="macro", zero_division=0)
    near("mean_recall", case["mean_recall"], recall)
    f1 = metrics.f1_score(truth, predicted, labels=labels, average=None, zero_division=np.nan)
    for label in labels:
        positive = truth == label
        own = scores[:, label]
        expected = None if np.isnan(f1[label]) else f1[label]
        near("f1", case["f1"][label], expected)
        precision = metrics.average_precision_score(positive, own) if positive.any() else None
        near("average_precision", case["average_precision"][label], precision)
        area = metrics.roc_auc_score(positive, own) if 0 < positive.sum() < len(truth) else None
        near("roc_auc", case["roc_auc"][label], area)
    right, confidence = truth == predicted, scores.max(1)
    near("brier", case["calibration"]["brier"], metrics.brier_score_loss(right, confidence, labels=[False, True], pos_label=True))
    edges = np.arange(11) / 10
    place = np.searchsorted(edges[1:-1], confidence)
    error = 0
    for i, found in enumerate(case["calibration"]["bins"]):
        inside = place == i
        assert found["count"] == inside.sum()
        if inside.any():
            near("confidence", found["confidence"], confidence[inside].mean())
            near("bin accuracy", found["accuracy"], right[inside].mean())
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    near("expected_error", case["expected_error"], error)


def bootstrap(case):
    found = case["found"]
    low, high = np.percentile(case["means"], [2.5, 97.5])
    near("low", found["low"], low)
    near("high", found["high"], high)
    # SciPy draws other images, so the ends agree within what 4,000 draws leave open.
    values = np.array(case["values"])
    other = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1)
    error = values.std() / len(values) ** 0.5
    near("low", found["low"], other.confidence_interval.low, 0.2 * error)
    near("high", found["high"], other.confidence_interval.high, 0.2 * error)


section = sys.argv[1]
with open(sys.argv[2], encoding="utf-8") as file:
    cases = json.load(file)
for number, case in enumerate(cases):
    try:
        {"objects": objects, "classes": classes, "bootstrap": bootstrap}[section](case)
    except AssertionError as error:
        sys.exit(f"case {number}: {error}")
print(f"{len(cases)} cases agree: {section}")
