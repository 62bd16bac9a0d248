"""Asks ansible-core anew which hosts the patterns of `answers.json` name.

    python ask_ansible.py

An answer is the hosts of the inventory, whether the implicit localhost is among them, and what
matched nothing; or that the pattern is refused. The groups are noted beside them.
"""

import json
import pathlib

from ansible.inventory import manager
from ansible.parsing.dataloader import DataLoader

HERE = pathlib.Path(__file__).parent
FILE = HERE / "answers.json"


def answer(inventory, pattern, warned):
    warned.clear()
    every = set(inventory._inventory.hosts)
    try:
        hosts = [host.name for host in inventory.get_hosts(pattern)]
    except manager.AnsibleError:
        return None
    return {
        "hosts": sorted(host for host in hosts if host in every),
        "controller": any(host not in every for host in hosts),
        "in_vain": [text.rsplit(": ", 1)[1] for text in warned if "Could not match" in text],
    }


def main():
    known = json.loads(FILE.read_text())
    warned = []
    manager.display.warning = lambda text, *_, **__: warned.append(text)
    for name, asked in known.items():
        inventory = manager.InventoryManager(loader=DataLoader(), sources=[str(HERE / name)])
        asked["groups"] = {
            name: [host.name for host in group.get_hosts()]
            for name, group in sorted(inventory.groups.items())
        }
        asked["answers"] = [[pattern, answer(inventory, pattern, warned)] for pattern, _ in asked["answers"]]
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


main()
