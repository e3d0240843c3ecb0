"""Where weights lie: in the package, on disk, in the hub's cache or on the hub."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

from masklet.errors import CheckpointError

EMBEDDED = ("nano",)
PUBLISHED = tuple(
    f"sam{revision}-hiera-{size}"
    for revision in ("2.1", "2")
    for size in ("tiny", "small", "base-plus", "large")
)


def find(name: str | Path) -> Path:
    """The file that a name, a path or a hub id stands for; fetched when it is not here yet."""
    text = str(name)
    if text in EMBEDDED:
        return _embedded(text)
    if text in PUBLISHED:
        return _from_hub(f"facebook/{text}")
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return path
    if isinstance(name, str) and text.count("/") == 1 and path.suffix not in (".pt", ".pth", ".safetensors"):
        return _from_hub(text)
    if "/" in text or path.suffix in (".pt", ".pth", ".safetensors"):
        raise CheckpointError(f"there is no file {text}.")
    raise CheckpointError(
        f"there is no model {text!r}. Known names: {', '.join((*EMBEDDED, *PUBLISHED))}; "
        "or pass the path of a checkpoint, or a hub id such as facebook/sam2.1-hiera-tiny."
    )


def _embedded(name: str) -> Path:
    path = Path(str(resources.files("masklet"))) / "weights" / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(f"masklet is installed without its embedded model {name}: install it again.")
    return path


def _in_folder(folder: Path) -> Path:
    candidates = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.pt"))]
    if len(candidates) != 1:
        named = ", ".join(path.name for path in candidates) or "none"
        raise CheckpointError(
            f"{folder} must hold one .safetensors or .pt file. It holds {named}: pass the file."
        )
    return candidates[0]


def _from_hub(repo: str) -> Path:
    """A hub repository's weights: from the cache without asking, and else over the network."""
    # transformers' file, or else the original's, whose name is the repository's with underscores
    files = ("model.safetensors", f"{repo.split('/')[1].replace('-', '_')}.pt")
    for file in files:
        try:
            return Path(hf_hub_download(repo, file, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
    try:
        return _download(repo, files)
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"the hub has no repository {repo} that you may read.") from error
    except (OSError, LocalEntryNotFoundError) as error:
        raise CheckpointError(
            f"{repo} is not in the hub's cache, and the hub cannot be reached. "
            "Go online once, or pass the path of a checkpoint that you have."
        ) from error


def _download(repo: str, files: Iterable[str]) -> Path:
    for file in files:
        try:
            return Path(hf_hub_download(repo, file))
        except LocalEntryNotFoundError:  # an EntryNotFoundError by name only: there is no network
            raise
        except EntryNotFoundError:
            continue
    raise CheckpointError(f"{repo} holds neither of {' and '.join(files)}: is it a SAM 2 repository?")
