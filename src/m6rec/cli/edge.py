"""`m6rec edge export MODEL OUT` and `m6rec edge check BUNDLE`: a bundle for phones and browsers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from m6rec.cli.common import Adapter, Data, Json, out, verb, write_json
from m6rec.data import tables
from m6rec.edge.bundle import BundleConfig, check, compressed, write_zip
from m6rec.edge.export import EdgeSettings, Source, export_bundle
from m6rec.model.exits import shallow
from m6rec.recommender import M6Rec


@verb
def edge_export(
    model: Annotated[str, typer.Argument(help="Checkpoint by name, or its folder.")],
    target: Annotated[Path, typer.Argument(help="Folder to write the bundle to.")],
    data: Data,
    adapter: Adapter = None,
    precision: Annotated[
        str, typer.Option(help="int8 (weights), w8a8 (activations too) or fp32")
    ] = "int8",
    depth: Annotated[
        int | None, typer.Option(help="Early exit: only the first layers (untrained retrieval).")
    ] = None,
    event: Annotated[str, typer.Option(help="What choosing an item is told as.")] = "click",
    requests: Annotated[int, typer.Option(help="Requests of the check against PyTorch.")] = 100,
    least: Annotated[float, typer.Option(help="Share that must have the same first ten.")] = 0.99,
    zipped: Annotated[bool, typer.Option("--zip", help="Write OUT.zip as well.")] = False,
    json: Json = None,
) -> None:
    """Write a bundle: graphs, weights, tokenizer, catalogue, licence; checked against PyTorch."""
    told = {"precision": precision, "event": event, "requests": requests, "least": least}
    settings = EdgeSettings.parse(told, "edge export")
    rec, dataset = M6Rec.from_pretrained(model), tables.load(data)
    if adapter is not None:
        rec.load_adapter(adapter)
    if depth is not None:
        rec = M6Rec(shallow(rec.backbone, depth), rec.tokenizer, rec.tasks)
    catalogue = rec.opener().catalogue(rec.tasks.get("retrieve"), dataset)
    name = Path(model).name if depth is None else f"{Path(model).name}, exit {depth}"
    source = Source(catalogue, dataset.items["title"].to_list(), name, rec.fingerprint)
    manifest = export_bundle(source, target, settings)
    if zipped:
        write_zip(target, target.with_suffix(".zip"))
    _report(target, manifest, json)


@verb
def edge_check(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    json: Json = None,
) -> None:
    """Check that a bundle is whole and undamaged, and say what it weighs."""
    _report(bundle, check(bundle), json)


def _report(folder: Path, manifest: dict[str, Any], json: Path | None) -> None:
    config, sizes = BundleConfig.read(folder / "bundle.json"), compressed(folder)
    for name, size in sizes.items():
        full = (folder / name).stat().st_size
        out.print(f"{name:<16} {full:>12,} bytes {size:>12,} with brotli")
    total = sum(sizes.values())
    out.print(
        f"{folder}: {config.name}, {config.precision}, {total:,} bytes with brotli; "
        f"PyTorch's first ten in {config.parity:.1%} of {config.requests} requests"
    )
    out.print(f"sha256 {manifest['sha256']}")
    told = {**manifest, "brotli": sizes, "brotli_total": total}
    write_json({**told, "config": config.model_dump()}, json)
