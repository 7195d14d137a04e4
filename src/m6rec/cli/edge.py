"""`m6rec edge export MODEL OUT` and `m6rec edge check BUNDLE`: a bundle for phones and browsers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from m6rec.cli.common import Adapter, Data, Json, out, verb, write_json
from m6rec.collaborative.head import Head
from m6rec.collaborative.settings import ScoreSettings
from m6rec.data import tables
from m6rec.data.known import popularity
from m6rec.edge.agreement import agreement
from m6rec.edge.bundle import BundleConfig
from m6rec.edge.export import EdgeSettings, Source, export_bundle
from m6rec.edge.graph import EdgeError
from m6rec.edge.manifest import check, compressed, write_zip
from m6rec.model.exits import shallow
from m6rec.recommender import M6Rec

Depth = Annotated[
    int | None, typer.Option(help="Early exit: only the first layers (untrained retrieval).")
]


@verb
def edge_export(
    model: Annotated[str, typer.Argument(help="Checkpoint by name, or its folder.")],
    target: Annotated[Path, typer.Argument(help="Folder to write the bundle to.")],
    data: Data,
    adapter: Adapter = None,
    runtime: Annotated[
        str, typer.Option("--format", help="onnx (browsers, phones) or executorch (phones)")
    ] = "onnx",
    precision: Annotated[
        str, typer.Option(help="int8 (weights), w8a8 (activations too) or fp32")
    ] = "int8",
    rank: Annotated[
        Path | None, typer.Option(help="A tuned ranking to go with it, by its folder.")
    ] = None,
    depth: Depth = None,
    best_per_item: Annotated[
        int, typer.Option("--pairs", help="Of a log: the strongest pairs of each item, so many.")
    ] = 30,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="Leave out what people chose next.")
    ] = False,
    event: Annotated[str, typer.Option(help="What choosing an item is told as.")] = "click",
    requests: Annotated[int, typer.Option(help="Requests of the check against PyTorch.")] = 100,
    least: Annotated[float, typer.Option(help="Share that must have the same first ten.")] = 0.99,
    zipped: Annotated[bool, typer.Option("--zip", help="Write OUT.zip as well.")] = False,
    json: Json = None,
) -> None:
    """Write a bundle: graphs, weights, tokenizer, catalogue, licence; checked against PyTorch."""
    told: dict[str, str | int | float] = {"runtime": runtime, "precision": precision}
    told |= {"event": event, "requests": requests, "least": least, "best_per_item": best_per_item}
    settings = EdgeSettings.parse(told, "edge export")
    source = _source(model, data, adapter, depth, rank, text_only)
    manifest = export_bundle(source, target, settings)
    if zipped:
        write_zip(target, target.with_suffix(".zip"))
    _report(target, manifest, json)


@verb
def edge_check(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    model: Annotated[
        str | None, typer.Option(help="Checkpoint it was made of: rank beside it (needs --data).")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the canonical tables.")] = None,
    adapter: Adapter = None,
    depth: Depth = None,
    requests: Annotated[int, typer.Option(help="Requests to rank beside the checkpoint.")] = 1000,
    json: Json = None,
) -> None:
    """Check that a bundle is whole and undamaged, say what it weighs, and whether it still ranks as
    its checkpoint does."""
    manifest = check(bundle)
    if (model is None) != (data is None):
        raise EdgeError("--model and --data go together: the bundle is held against both")
    told = {}
    if model is not None and data is not None:
        settings = EdgeSettings.parse({"requests": requests}, "edge check")
        found = agreement(_source(model, data, adapter, depth), bundle, settings)
        told = {"requests": requests, **asdict(found)}
        out.print(
            f"the same first ten in {found.rounded:.1%} of {requests} requests as the network "
            f"rounded in PyTorch ({found.ten:.1%} in any order), in {found.float32:.1%} as the "
            "network in float32"
        )
        if found.transitions is not None and found.whole is not None:
            out.print(
                f"what people chose next: the same first ten in {found.transitions:.1%} as numpy's "
                f"score of the same pairs; {found.whole:.1%} of the ten of the whole score"
            )
    _report(bundle, manifest, json, told)


def _source(
    model: str,
    data: Path,
    adapter: Path | None,
    depth: int | None,
    rank: Path | None = None,
    text_only: bool = False,
) -> Source:
    rec, dataset = M6Rec.from_pretrained(model), tables.load(data)
    if adapter is not None:
        rec.load_adapter(adapter)
    ranker = None
    if rank is not None:
        rec.load_adapter(rank)
        if "rank" not in rec.tasks:
            raise EdgeError(f"{rank} is no ranking; right is a folder of `m6rec tune rank`")
        ranker = rec.opener().ranker(rec.tasks["rank"], dataset)
    if depth is not None:
        rec = M6Rec(shallow(rec.backbone, depth), rec.tokenizer, rec.tasks)
    task = rec.tasks.get("retrieve")
    people_I = None if text_only else popularity(dataset)
    counted = people_I is not None and bool(people_I.any())
    if counted and task is not None:  # the head has a number of its own for new items
        counted = task.spec.retrieval is None or not task.spec.retrieval.text_only
        task = replace(task, new_item_boost=0.0) if counted else task
    catalogue = rec.opener().catalogue(task, dataset, text_only=True)
    name = Path(model).name if depth is None else f"{Path(model).name}, exit {depth}"
    titles = dataset.items["title"].to_list()
    source = Source(catalogue, titles, name, rec.fingerprint, ranker, embed=rec.embed)
    if not counted:
        return source
    scoring = None if task is None else task.score_settings
    return replace(
        source,
        events=dataset.events,
        scoring=scoring or ScoreSettings(),
        head=None if task is None else task.head or Head(),
    )


def _report(
    folder: Path,
    manifest: dict[str, Any],
    json: Path | None,
    agreed: Mapping[str, float] | None = None,
) -> None:
    config, sizes = BundleConfig.read(folder / "bundle.json"), compressed(folder)
    for name, size in sizes.items():
        full = (folder / name).stat().st_size
        out.print(f"{name:<16} {full:>12,} bytes {size:>12,} with brotli")
    total = sum(sizes.values())
    out.print(
        f"{folder}: {config.name}, {config.runtime}, {config.precision}, {total:,} bytes with "
        f"brotli; PyTorch's first ten in {config.parity:.1%} of {config.requests} requests"
    )
    if config.rank is not None:
        out.print(
            f"ranking: {config.rank.name}; PyTorch's first ten in {config.rank.parity:.1%} of "
            f"{config.rank.requests} requests, chances off by {config.rank.off:.1g} at most"
        )
    if config.transitions is not None:
        held = config.transitions
        out.print(
            f"what people chose next: {held.pairs:,} pairs, {held.best_per_item} of an item at "
            f"most; numpy's first ten in {held.parity:.1%} of {held.requests} requests"
        )
    out.print(f"sha256 {manifest['sha256']}")
    told = {**manifest, "brotli": sizes, "brotli_total": total}
    write_json({**told, "config": config.model_dump(), "agreement": agreed or {}}, json)
