"""`amibake install` of git roles beside `ansible-galaxy install`, each with nothing there and nothing in a cache.

Usage: install.py --amibake PROGRAM [--galaxy ansible-galaxy] [--roles 10] [--rounds 5]

The repositories are made here, with a history and some files each, and fetched over file:// addresses: what is
measured is the work, not a network. Both must leave the same files. A third row has the lock file and the cache.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amibake", type=Path, required=True)
    parser.add_argument("--galaxy", default="ansible-galaxy")
    parser.add_argument("--roles", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contest(options, Path(folder))


def contest(options: argparse.Namespace, folder: Path) -> None:
    addresses = [repository(folder / f"git/role-{number}") for number in range(options.roles)]
    requirements = folder / "requirements.yml"
    lines = [f"- {{src: 'git+{address}', version: v1.0}}\n" for address in addresses]
    requirements.write_text("roles:\n" + "".join(lines))
    amibake = [options.amibake.resolve(), "install", requirements]
    rows = {
        "amibake": (amibake, ["cache", "requirements.yml.lock"]),
        "amibake, all in its cache": (amibake, []),
        "ansible-galaxy": ([options.galaxy, "install", "-r", requirements], []),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    trees = set()
    for _ in range(options.rounds):
        for name, (command, gone) in rows.items():
            for path in ["home", "roles", *gone]:
                remove(folder / path)
            (folder / "home").mkdir()
            began = time.perf_counter()
            run(command, folder)
            seconds[name].append(time.perf_counter() - began)
            trees.add(tree(folder / "roles"))
    assert len(trees) == 1, "the roles that are installed are not the same"
    best = median(seconds["amibake"])
    print(f"{options.roles} git roles, medians of {options.rounds}, the same files:\n")
    print("| | beside amibake | seconds (spread) |\n| --- | --- | --- |")
    for name, all_seconds in seconds.items():
        spread = f"{min(all_seconds):.2f}–{max(all_seconds):.2f}"
        print(f"| {name} | {median(all_seconds) / best:.2g} | {median(all_seconds):.2f} ({spread}) |")


def repository(folder: Path) -> str:
    """Makes a role with forty commits, and returns its address."""
    for name in ("defaults", "files", "handlers", "meta", "tasks", "templates"):
        (folder / name).mkdir(parents=True)
    (folder / "meta/main.yml").write_text("galaxy_info: {author: a}\ndependencies: []\n")
    (folder / "handlers/main.yml").write_text("[]\n")
    for number in range(30):
        (folder / f"templates/{number}.j2").write_text(f"line {number}\n" * 40)
    git(folder, "init", "-q", "-b", "main")
    for number in range(40):
        (folder / "tasks/main.yml").write_text(f"# {number}\n")
        (folder / "defaults/main.yml").write_text(f"number: {number}\n")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", str(number))
    git(folder, "tag", "v1.0")
    return f"file://{folder}"


def git(folder: Path, *arguments: str) -> None:
    login = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *login, *arguments], cwd=folder, check=True)


def run(command: list, folder: Path) -> None:
    environment = {
        "HOME": str(folder / "home"),
        "PATH": os.environ["PATH"],
        "XDG_CACHE_HOME": str(folder / "cache"),
        "ANSIBLE_ROLES_PATH": str(folder / "roles"),
    }
    subprocess.run(command, cwd=folder, check=True, env=environment, capture_output=True)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def tree(folder: Path) -> str:
    """Returns what stands for all files, but for the records that tell when they were installed."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".galaxy_install_info":
            digest.update(f"{path.relative_to(folder)} {path.stat().st_mode:o}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
