"""Evaluate many bundles, as a file says: methods, models, corruptions, seeds and prune ratios.

What was computed before is kept: the same command goes on where an earlier one was interrupted.
"""

import argparse
from pathlib import Path

from toolchain.cli.folders import make_folder
from toolchain.driver.output import emit, progress, warn
from toolchain.errors import DependencyError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="TOML; docs/sweeps.md describes it")
    parser.add_argument("--output", type=Path, metavar="DIR", help="bundles and results (default: CONFIG.results)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="a Ray cluster that sees the same files; `local` starts one on this machine"
    )


def run(options: argparse.Namespace) -> int:
    from toolchain.evaluation.sweep import report
    from toolchain.evaluation.sweep.campaign import carry_out
    from toolchain.evaluation.sweep.config import read_trials
    from toolchain.evaluation.sweep.workers import open_workers

    trials = read_trials(options.config)
    folder = options.output or options.config.with_suffix(".results")
    make_folder(folder)
    with open_workers(options.ray) as workers:
        campaign = carry_out(trials, folder, workers, progress)
    progress("")
    documents = campaign.results
    try:
        if documents:
            report.write(documents, campaign.folder)
    except DependencyError as missing:
        warn(str(missing))
    for name, error in campaign.failed.items():
        warn(f"{name}: {error}")
    result = {"trials": documents, "computed": campaign.computed, "failed": campaign.failed}
    emit(result, report.text(documents), options.json)
    return 1 if campaign.failed else 0
