#!/usr/bin/env python3
"""Writes crates/playbook/src/syntax/modules.txt: the names of all modules of Ansible and its collections.

    module_names.py COLLECTIONS

COLLECTIONS is the folder `ansible_collections` of the PyPI package `ansible`; ansible-core is the one installed.

A line that begins at the margin names a collection; those below it name its modules, as follows:
`name`, a module; `+name`, a module that ansible-core finds by its short name too; `name>full.name`, another name for
a module, of which `full.` is enough where the last parts are the same. Below `ansible.builtin` such other names are
those that need no collection. Collections that Ansible no longer ships are there with the short names of old.
"""

import pathlib
import sys
import textwrap
from collections import defaultdict

import ansible
import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CORE = pathlib.Path(ansible.__path__[0])
KINDS = "modules", "action"
# What ansible-core calls by itself.
INTERNAL = {"async_wrapper", "normal"}


def names_in(folder):
    """Returns the modules in a folder of plugins, by Python's or PowerShell's files."""
    files = (path for path in folder.rglob("*") if path.suffix in (".py", ".ps1", ".yml"))
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts) for path in files if not path.stem.startswith("_")
    }


def redirects(file):
    """Returns what a `runtime.yml` says other names stand for."""
    if not file.exists():
        return {}
    routing = (yaml.load(file.read_text(), LOADER) or {}).get("plugin_routing") or {}
    found = {}
    for kind in reversed(KINDS):
        for name, told in (routing.get(kind) or {}).items():
            if told and told.get("redirect"):
                found[name] = told["redirect"]
    return found


def collections(root):
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        modules = set().union(*(names_in(folder / "plugins" / kind) for kind in KINDS))
        yield f"{folder.parent.name}.{folder.name}", modules, redirects(folder / "meta/runtime.yml")


def words_of(collection, modules, others, shorts):
    """Returns how the names of a collection are written, and takes those it has from `shorts`."""
    for name in sorted(modules | others.keys()):
        known = shorts.get(name) == f"{collection}.{name}"
        if known:
            del shorts[name]
        yield ("+" if known else "") + name + (f">{others[name].removesuffix(name)}" if name in others else "")


def section(heading, words):
    if words:
        lines = textwrap.wrap(" ".join(words), 150, break_long_words=False, break_on_hyphens=False)
        print(heading, *(f" {line}" for line in lines), sep="\n")


def main():
    shorts = redirects(CORE / "config/ansible_builtin_runtime.yml")
    shorts = {name: full for name, full in shorts.items() if not (full.startswith("testns.") or "." in name)}
    shipped = [
        (collection, list(words_of(collection, modules, others, shorts)))
        for collection, modules, others in collections(pathlib.Path(sys.argv[1]))
    ]
    gone = defaultdict(list)
    for name, full in list(shorts.items()):
        collection = full.removesuffix(f".{name}")
        if collection != full and collection != "ansible.builtin":
            gone[collection].append(f"+{name}")
            del shorts[name]
    builtin = (names_in(CORE / "modules") | names_in(CORE / "plugins/action")) - INTERNAL
    section("ansible.builtin", list(words_of("ansible.builtin", builtin, shorts, {})))
    for collection, words in shipped:
        section(collection, words + sorted(gone.pop(collection, [])))
    for collection, words in sorted(gone.items()):
        section(collection, sorted(words))


main()
