"""What a model needs of this Python: run by `skysail package` in the chosen interpreter.

Reads a request from standard input, and writes the answer as the last line of standard output. The
packages are those that the model's files import, skysail, and what these need in turn, as they are
installed here. One that came from no index (a local file, a repository) is packed again as a wheel
from its installed files; so are all of them where the request says so.
"""

import ast
import base64
import hashlib
import importlib.metadata as metadata
import io
import json
import os
import re
import sys
import zipfile
from pathlib import Path


class Unfit(Exception):
    """What keeps the model from being packed, in one line."""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def installed():
    """The distributions by their normal names; of two with one name the first is imported."""
    found = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:
            found.setdefault(normal(name), one)
    return found


def modules_of(distributions):
    """Which distributions have a top-level module."""
    owners = {}
    for name, one in distributions.items():
        tops = set((one.read_text("top_level.txt") or "").split())
        for file in one.files or ():
            top = file.parts[0]
            if len(file.parts) > 1 and not top.endswith((".dist-info", ".data", "..")):
                tops.add(top)
            elif top.endswith((".py", ".so")):
                tops.add(top.split(".")[0])
        for top in tops:
            owners.setdefault(top, []).append(name)
    return owners


class Imports(ast.NodeVisitor):
    """Top-level modules that a file imports, and whether it can do without."""

    def __init__(self):
        self.found = {}
        self.depth = 0

    def add(self, name):
        top = name.split(".")[0]
        self.found[top] = self.found.get(top, False) or self.depth == 0

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node):
        if node.level == 0 and node.module:
            self.add(node.module)

    def inner(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_Try = visit_FunctionDef = visit_AsyncFunctionDef = visit_If = inner


def imports(folder, files):
    """Modules that the model's files import from elsewhere: whether each is needed, and where."""
    local = {Path(file).parts[0].split(".")[0] for file in files}
    local |= {Path(file).stem for file in files}
    known = getattr(sys, "stdlib_module_names", frozenset()) | set(sys.builtin_module_names)
    found = {}
    for file in files:
        try:
            tree = ast.parse((folder / file).read_bytes(), file)
        except (SyntaxError, ValueError) as error:
            raise Unfit(f"{file} is no Python {sys.version_info[0]}.{sys.version_info[1]}: {error}")
        visitor = Imports()
        visitor.visit(tree)
        for top, needed in visitor.found.items():
            if top not in local and top not in known:
                before = found.get(top, (False, file))
                found[top] = (before[0] or needed, before[1])
    return found


def loaded_by(folder, entry):
    """Modules that are there once an estimator's file is read: its classes' among them."""
    sys.path.insert(0, str(folder))
    path = folder / entry
    try:
        if path.suffix == ".skops":
            import skops.io

            skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
        else:
            import joblib

            joblib.load(path)
    except Exception as error:
        text = " ".join(str(error).split())
        raise Unfit(f"{entry} cannot be read by this Python: {type(error).__name__}: {text}")
    return {name.split(".")[0] for name in sys.modules}


def roots(request, distributions):
    """The distributions that the model names itself; notes on what is missing."""
    folder, owners = Path(request["folder"]), modules_of(distributions)
    names, notes = {"skysail"}, []
    for top, (needed, file) in sorted(imports(folder, request["files"]).items()):
        if top in owners:
            names.update(owners[top])
        elif top in sys.builtin_module_names or spec_of(top):
            continue  # of the standard library, before Python 3.10 can say so
        elif needed:
            raise Unfit(f"{file} imports '{top}', which this Python lacks: install it, or name another --python")
        else:
            notes.append(f"{file} may import '{top}', which this Python lacks: left out")
    if request["kind"] == "sklearn":
        wanted = loaded_by(folder, request["entry"])
        for top in sorted(wanted & set(owners)):
            names.update(owners[top])
    for extra in request["requirements"]:
        if normal(extra) not in distributions:
            raise Unfit(f"--requirement {extra}: this Python has no such package")
        names.add(normal(extra))
    return names, notes


def spec_of(top):
    import importlib.util

    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def closure(names, distributions):
    """The distributions, and those that they need and that are here."""
    todo, done = [(name, frozenset()) for name in sorted(names)], set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in done or name not in distributions:
            continue
        done.add((name, extras))
        for requirement in distributions[name].requires or ():
            text, _, marker = requirement.partition(";")
            wanted = re.findall(r"extra\s*==\s*['\"]([^'\"]+)", marker)
            # Whether its other markers hold shows in whether it is installed.
            if wanted and not any(normal(extra) in extras for extra in wanted):
                continue
            match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?", text)
            if match:
                more = frozenset(normal(e) for e in (match[2] or "").split(",") if e.strip())
                todo.append((normal(match[1]), more))
    return sorted({name for name, _ in done})


def origin(one):
    """None for an index, else where it was installed from."""
    said = json.loads(one.read_text("direct_url.json") or "{}")
    if said.get("dir_info", {}).get("editable"):
        raise Unfit(
            f"{one.metadata['Name']} is installed in editable form from {said['url']}, its files are "
            "not in the environment: install it with `pip install PATH`"
        )
    return said.get("url")


def wheel(one, into):
    """Packs an installed distribution as a wheel: the same bytes for the same files."""
    name = one.metadata["Name"]
    about = one.read_text("WHEEL")
    if about is None or one.files is None:
        raise Unfit(
            f"{name} {one.version} was installed without a list of its files (by conda or the system?), "
            "so that it cannot be packed: install it with pip"
        )
    prefix = re.sub(r"[-_.]+", "_", name) + "-" + one.version
    files = {}
    for file in one.files:
        path = Path(one.locate_file(file))
        place = inside(file, path, prefix)
        if place is None:
            continue
        try:
            files[place] = path.read_bytes()
        except OSError as error:
            raise Unfit(f"{name} {one.version} cannot be packed: {error}")
    info = next(place.split("/")[0] for place in files if place.endswith(".dist-info/METADATA"))
    rows = [f"{quoted(place)},sha256={digest(data)},{len(data)}" for place, data in sorted(files.items())]
    rows.append(f"{info}/RECORD,,")
    files[f"{info}/RECORD"] = ("\n".join(rows) + "\n").encode()
    target = into / f"{prefix}-{tag(about)}.whl"
    into.mkdir(exist_ok=True)
    target.write_bytes(packed(files))
    return target.name


def inside(file, path, prefix):
    """Where an installed file stands in a wheel; None for what an installer makes."""
    text = file.as_posix()
    if text.endswith(".pyc") or file.name in ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json"):
        return None
    if not text.startswith(("../", "/")):
        return text
    try:
        below = path.resolve().relative_to(Path(sys.prefix).resolve()).as_posix()
    except ValueError:
        return None
    # Programs are made again from the entry points.
    return None if below.startswith("bin/") else f"{prefix}.data/data/{below}"


def quoted(place):
    return '"' + place.replace('"', '""') + '"' if "," in place or '"' in place else place


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def tag(about):
    """The tags of a wheel's metadata, compressed as its file name has them."""
    tags = [line.split(":", 1)[1].strip().split("-") for line in about.splitlines() if line.startswith("Tag:")]
    return "-".join(".".join(sorted({parts[at] for parts in tags})) for at in range(3))


def packed(files):
    room = io.BytesIO()
    with zipfile.ZipFile(room, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        # The list of files stands at the end.
        for place in sorted(files, key=lambda place: (place.endswith(".dist-info/RECORD"), place)):
            entry = zipfile.ZipInfo(place, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[place], compresslevel=1)
    return room.getvalue()


def answer(request):
    distributions = installed()
    if "skysail" not in distributions:
        raise Unfit("this Python has no package skysail (docs/guides/python.md)")
    names, notes = roots(request, distributions)
    packages = []
    for name in closure(names, distributions):
        one = distributions[name]
        url = origin(one)
        file = wheel(one, Path(request["wheels"])) if url or request["all"] else None
        if file is None and "+" in one.version:
            notes.append(
                f"{name}=={one.version} is on no common index: give pip its index, or say --wheels"
            )
        packages.append({"name": name, "version": one.version, "wheel": file})
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return {"python": python, "packages": packages, "notes": notes}


def main():
    os.umask(0o022)
    try:
        said = answer(json.load(sys.stdin))
    except Unfit as error:
        said = {"error": str(error)}
    print("\n" + json.dumps(said))


main()
