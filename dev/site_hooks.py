"""MkDocs hooks: make pages of notebooks, and copy files outside docs/ that pages link to.

MkDocs calls the functions whose names begin with `on_`; `mkdocs.yml` names this file.
"""

import base64
import posixpath
import re
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")
NOTEBOOK = re.compile(r"(\]\([\w./-]+)\.ipynb\)")
SHIM = re.compile(r'<script src="?https://unpkg\.com/iframe-worker/shim"?></script>')
SEARCH_FROM_DISK = "javascripts/search_from_disk.js"
LANGUAGES = {".py": "python", ".md": "markdown", ".toml": "toml", ".sh": "bash"}
IMAGES = {"image/png": "png", "image/jpeg": "jpg"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every notebook, and for every file of the repository that a page links to."""
    texts = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            page, images = notebook_page(file.content_string, Path(file.src_uri).stem)
            uri = file.src_uri.removesuffix(".ipynb") + ".md"
            texts[uri] = page
            files.append(File.generated(config, uri, content=page))
            for name, data in images.items():
                image = posixpath.join(posixpath.dirname(uri), name)
                files.append(File.generated(config, image, content=data))
    for path in sorted({path for uri, text in texts.items() for path in outside_paths(uri, text)}):
        files.append(File.generated(config, source_uri(path), content=source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link to the pages of notebooks, and to the copies of files outside docs/.

    A link to a folder becomes text.
    """

    def replace(match: re.Match[str]) -> str:
        path = repository_path(page.file.src_uri, match[1])
        if path is None:
            return match[0]
        if not (ROOT / path).is_file():
            return f"] (`{path}`)"
        target = posixpath.relpath(source_uri(path), posixpath.dirname(page.file.src_uri) or ".")
        return f"]({target})"

    return LINK.sub(replace, NOTEBOOK.sub(r"\1.md)", markdown))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Replace a script of another host by ours, so that search works without a server, too."""
    path = posixpath.relpath(SEARCH_FROM_DISK, posixpath.dirname(page.file.dest_uri) or ".")
    return SHIM.sub(f'<script src="{path}"></script>', output)


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """Remove that script from the 404 page."""
    return SHIM.sub("", output)


def repository_path(uri: str, link: str) -> str | None:
    """The path of a link's target in the repository; None if it is in docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(uri), link))
    return None if path.startswith(("docs/", "../")) else path


def outside_paths(uri: str, text: str) -> list[str]:
    """The files outside docs/ that a page links to."""
    paths = [repository_path(uri, match[1]) for match in LINK.finditer(text)]
    return [path for path in paths if path is not None and (ROOT / path).is_file()]


def source_uri(path: str) -> str:
    return f"source/{path}" if path.endswith(".md") else f"source/{path}.md"


def source_page(path: str) -> str:
    """Convert a file of the repository to a page."""
    text = (ROOT / path).read_text("utf-8")
    if path.endswith(".md"):  # its links are relative to the repository, so it is shown as source
        return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n````markdown\n{text}\n````\n"
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n````{language}\n{text}\n````\n"


def notebook_page(source: str, name: str) -> tuple[str, dict[str, bytes]]:
    """Convert a notebook's cells and outputs to Markdown, and its images by file name."""
    parts: list[str] = []
    images: dict[str, bytes] = {}
    for cell in nbformat.reads(source, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            kind = next((kind for kind in IMAGES if kind in data), None)
            if kind is not None:
                image = f"{name}-{len(images) + 1}.{IMAGES[kind]}"
                images[image] = base64.b64decode(data[kind])
                parts.append(f"![What the cell shows]({image})")
            elif text := output.get("text") or data.get("text/plain"):
                parts.append(f'<div class="output" markdown>\n\n```text\n{text.rstrip()}\n```\n\n</div>')
    download = f'<a href="{name}.ipynb" download>Download this page as a notebook</a>'
    return "\n\n".join([*parts, download, ""]), images
