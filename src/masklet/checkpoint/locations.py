"""Finds a model's file: inside the package, on this machine, or on the hub, from which it is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from masklet.errors import CheckpointError, OptionError

EMBEDDED = ("nano",)
PUBLISHED = tuple(
    f"sam{revision}-hiera-{size}"
    for revision in ("2.1", "2")
    for size in ("tiny", "small", "base-plus", "large")
)


def find(name: str | Path) -> Path:
    """The file of a name, a path or a hub id; downloaded if necessary.

    Raises:
        CheckpointError: There is no such file, or it cannot be fetched.
        OptionError: It is neither a name nor a path.
    """
    text = os.fspath(name) if isinstance(name, str | os.PathLike) else ""
    if not isinstance(text, str) or not text:
        raise OptionError(
            f"a model must be a name, such as nano, the path of a checkpoint, or a hub id. Got {name!r}."
        )
    if text in EMBEDDED:
        return _embedded(text)
    if text in PUBLISHED:
        return _from_hub(f"facebook/{text}")
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return _in_folder(path)
        if path.exists():
            return path
    except (OSError, RuntimeError) as error:  # a name that is too long, a folder or home that cannot be read
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise CheckpointError(f"{text[:80]} cannot be opened: {reason.lower()}.") from None
    if isinstance(name, str) and text.count("/") == 1 and path.suffix not in (".pt", ".pth", ".safetensors"):
        return _from_hub(text)
    if "/" in text or path.suffix in (".pt", ".pth", ".safetensors"):
        raise CheckpointError(f"there is no file {text}.")
    raise CheckpointError(
        f"there is no model {text!r}. Known names: {', '.join((*EMBEDDED, *PUBLISHED))}; "
        "or pass the path of a checkpoint, or a hub id such as facebook/sam2.1-hiera-tiny."
    )


def find_given(model: str) -> Path | None:
    """The file of a model that is a path, also of a folder; None for names and hub ids.

    A hash of the file tells whether a run has the weights of an earlier run.
    """
    if model in EMBEDDED or model in PUBLISHED:
        return None
    try:
        path = Path(model).expanduser()
        path = _in_folder(path) if path.is_dir() else path
        return path if path.is_file() else None
    except (CheckpointError, OSError, RuntimeError, ValueError):  # loading it reports the error
        return None


def find_local(name: str) -> Path | None:
    """The file of an embedded or published model, if it is on this machine; nothing is downloaded."""
    if name in EMBEDDED:
        return _embedded(name)
    return _in_cache(f"facebook/{name}") if name in PUBLISHED else None


def _embedded(name: str) -> Path:
    path = Path(str(resources.files("masklet"))) / "weights" / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"the embedded model {name} is missing from this installation of masklet: install it again."
        )
    return path


def _in_folder(folder: Path) -> Path:
    candidates = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.pt"))]
    if len(candidates) != 1:
        named = ", ".join(path.name for path in candidates) or "none"
        raise CheckpointError(
            f"{folder} must contain one .safetensors or .pt file. It contains {named}: pass the file."
        )
    return candidates[0]


def _from_hub(repo: str) -> Path:
    """A hub repository's weights: from the cache if possible, otherwise over the network."""
    # Imported only when needed: it takes a tenth of the import time of loading a file.
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    cached = _in_cache(repo)
    if cached is not None:
        return cached
    try:
        _reach_hub(repo)
        return _download(repo, _hub_files(repo))
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"the hub has no repository {repo}, or you may not read it.") from error
    except (OSError, LocalEntryNotFoundError) as error:
        raise CheckpointError(
            f"{repo} is not in the hub's cache, and the hub cannot be reached. Connect to the network once, "
            "or pass the path of a checkpoint."
        ) from error


def _hub_files(repo: str) -> tuple[str, str]:
    """transformers' file, otherwise the original's, whose name is the repository's with underscores."""
    return "model.safetensors", f"{repo.split('/')[1].replace('-', '_')}.pt"


def _reach_hub(repo: str) -> None:
    """Ask the hub once. A download would retry for half a minute, even without any network.

    Raises:
        OSError: The hub cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(repo, _hub_files(repo)[0]))
    except HfHubHTTPError:  # it answered: the download reports the error
        pass
    except Exception as error:  # from requests, httpx or httpx2, depending on the release
        raise OSError(str(error)) from error


def _in_cache(repo: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for file in _hub_files(repo):
        try:
            return Path(hf_hub_download(repo, file, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
    return None


def _download(repo: str, files: Iterable[str]) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for file in files:
        try:
            return Path(hf_hub_download(repo, file))
        except LocalEntryNotFoundError:  # an EntryNotFoundError only by name: there is no network
            raise
        except EntryNotFoundError:
            continue
    raise CheckpointError(f"{repo} contains neither {' nor '.join(files)}: is it a SAM 2 repository?")
