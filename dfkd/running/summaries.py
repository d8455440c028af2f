"""What the runs of a sweep say together: means over seeds, and differences between rows, seed by seed.

Rows of one sweep have the same seeds, so that they are compared in pairs: what a seed does to all rows alike cancels in
the difference, and the interval is that of the differences' mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

CONFIDENCE = 0.95


def measures(record: Mapping[str, Any], datasets: Sequence[str] = ()) -> dict[str, float]:
    """The figures of one run by which rows are compared.

    Args:
        record: of a run, with its 'agreement' and, for `datasets`, its 'scores'.
        datasets: benchmarks that count.

    Returns:
        dB by name: 'agreement x2 x3', the mean over scales, where there are several; 'agreement x2', 'agreement x3';
        and the same for each data set. Rows of other scales thus have no mean in common.
    """
    kinds = {"agreement": dict(record["agreement"])}
    for name in datasets:
        kinds[name] = {f"x{s['scale']}": s["psnr"] for s in record.get("scores", []) if s["dataset"] == name}
    found: dict[str, float] = {}
    for name, by_scale in kinds.items():
        if len(by_scale) > 1:
            found[" ".join([name, *by_scale])] = mean(by_scale.values())
        found |= {f"{name} {scale}": value for scale, value in by_scale.items()}
    return found


def summarise(runs: Iterable[tuple[str, int, Mapping[str, float]]], baseline: str | None = None) -> dict[str, Any]:
    """Means over seeds, and differences from a baseline.

    Args:
        runs: row, seed and `measures` of each run.
        baseline: the row that the others are compared with.

    Returns:
        Measure to row to 'mean', 'sd' (of single runs; None for one seed) and 'seeds' (how many); and, of rows that
        have seeds in common with the baseline, 'difference', as `paired` gives it.
    """
    values: dict[str, dict[str, dict[int, float]]] = {}
    for row, seed, figures in runs:
        for measure, value in figures.items():
            values.setdefault(measure, {}).setdefault(row, {})[seed] = value
    found: dict[str, Any] = {}
    for measure, rows in values.items():
        found[measure] = {row: _moments(list(by_seed.values())) for row, by_seed in rows.items()}
        for row, by_seed in rows.items():
            if row != baseline and (common := by_seed.keys() & rows.get(baseline, {}).keys()):
                found[measure][row]["difference"] = paired([by_seed[s] - rows[baseline][s] for s in sorted(common)])
    return found


def paired(differences: Sequence[float]) -> dict[str, Any]:
    r"""The mean of differences with its interval of 95 %: $\bar d \pm t_{0.975,\,n-1}\, s / \sqrt n$ (Student's t).

    Args:
        differences: d, one a seed.

    Returns:
        'mean', 'low' and 'high' (None for a single seed, which has no interval) and 'seeds'.
    """
    found = _moments(differences)
    middle, spread, n = found["mean"], found["sd"], found["seeds"]
    if spread is None:
        return {"mean": middle, "low": None, "high": None, "seeds": n}
    from scipy.special import stdtrit  # slow to import

    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(n)
    return {"mean": middle, "low": middle - half, "high": middle + half, "seeds": n}


def _moments(values: Sequence[float]) -> dict[str, Any]:
    # A student that is its teacher agrees infinitely well; of such, no spread can be said.
    spread = stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None
    return {"mean": mean(values), "sd": spread, "seeds": len(values)}


def table(summary: Mapping[str, Any], baseline: str | None = None) -> list[str]:
    """A summary as lines of text, measure by measure."""
    names = [row for rows in summary.values() for row in rows]
    wide, wider = max(map(len, ["row", *names])), max(map(len, ["dB", *summary]))
    against = "" if baseline is None else f"   against {baseline!r}, {CONFIDENCE:.0%} interval"
    lines = [f"{'dB':<{wider}}  {'row':<{wide}}  seeds     mean      sd{against}"]
    for measure, rows in summary.items():
        label = measure
        for row, found in rows.items():
            spread = "" if found["sd"] is None else f"{found['sd']:.3f}"
            line = f"{label:<{wider}}  {row:<{wide}}  {found['seeds']:>5}  {found['mean']:>7.3f}  {spread:>6}"
            lines.append((line + _against(found.get("difference"))).rstrip())
            label = ""
    return lines


def _against(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    text = f"   {difference['mean']:+.3f}"
    return text if difference["low"] is None else f"{text} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
