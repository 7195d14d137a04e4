"""Shows that the lower bounds of pyproject.toml hold: their releases, together, pass the tests.

`python tools/lower_bounds.py FOLDER` makes an environment there with the lowest stated release of
every dependency and runs tests in it. pip finds what those need themselves. `--extra train,serve`
names the extras, `--at polars=1.41` tries another release than the stated one, `--tests FILE…`
other tests; `--list` only prints the pins.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TESTS = (
    "test_data_conform.py",
    "test_data_tables.py",
    "test_data_check.py",
    "test_data_importers.py",
    "test_data_splits.py",
    "test_data_labels.py",
    "test_data_published.py",
    "test_data_talks.py",
    "test_data_writing.py",
    "test_data_shop.py",
    "test_evaluation_retrieval.py",
    "test_evaluation_report.py",
    "test_metrics_ranking.py",
    "test_model_checkpoint.py",
    "test_model_network.py",
    "test_model_plans.py",
    "test_stores_contract.py",
    "test_stores_journal.py",
    "test_stores_segments.py",
    "test_text_features.py",
    "test_text_templates.py",
    "test_training_loop.py",
    "test_training_tune.py",
    "test_recommender.py",
    "test_serve_answers.py",
    "test_serve_data.py",
    "test_serving_runtimes.py",
    "test_edge_export.py",
    "test_edge_rank.py",
)
"""Every dependency is at work in one of them."""
HELPERS = ("pytest", "hypothesis", "httpx", "openai")
"""Of the extra `dev`, what running tests needs."""


def lowest(extras: Sequence[str]) -> dict[str, str]:
    """Name with its extras → the lowest release that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    lines += [
        line
        for line in project["optional-dependencies"]["dev"]
        if Requirement(line).name in HELPERS
    ]
    found: dict[str, str] = {}
    for line in lines:
        need = Requirement(line)
        bounds = [spec.version for spec in need.specifier if spec.operator in (">=", "==")]
        if len(bounds) != 1:
            sys.exit(f"{line!r} states no lower bound; right is NAME>=RELEASE")
        name = need.name + (f"[{','.join(sorted(need.extras))}]" if need.extras else "")
        found[name] = bounds[0]
    return found


def make(folder: Path, pins: Sequence[str]) -> Path:
    """The Python of an environment with these pins and the project itself."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", *pins, "packaging", "setuptools>=77"]
    subprocess.run(command, check=True)
    source = folder / "source"  # a copy: what building leaves behind is not left in the project
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(source)]
    subprocess.run([*command, "--no-build-isolation", "--force-reinstall"], check=True)
    return python


def main() -> None:
    """Makes the environment and runs the tests; the exit code is theirs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extra", default="train,serve,edge,traces")
    parser.add_argument("--at", action="append", default=[], metavar="NAME=RELEASE")
    parser.add_argument("--list", action="store_true")
    parser.add_argument(
        "--tests", nargs="+", default=[str(ROOT / "tests" / name) for name in TESTS]
    )
    asked = parser.parse_args()
    pins = lowest([extra for extra in asked.extra.split(",") if extra])
    for words in asked.at:
        name, _, release = words.partition("=")
        whole = next((one for one in pins if one.split("[")[0] == name), name)
        pins[whole] = release
    lines = [f"{name}=={release}" for name, release in sorted(pins.items())]
    print("\n".join(lines), flush=True)
    if asked.list:
        return
    python = make(asked.folder, lines)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    # A deprecation of an old release is no fault of ours: other warnings stay errors.
    command = [str(python), "-m", "pytest", "-q", "-W", "ignore::DeprecationWarning", *asked.tests]
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
