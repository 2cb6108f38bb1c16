"""Lists the packages that are linked into the program for a target, with their licences and the texts that they bring along.

usage: python3 release/licences.py TARGET > THIRD-PARTY.txt
"""

import json
import subprocess
import sys
from pathlib import Path


def linked(target: str) -> set[tuple[str, str]]:
    """Name and version of each package whose code may be in the program."""
    tree = ["cargo", "tree", "--locked", "--package", "kiln", "--edges", "normal", "--target", target, "--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(tree, check=True, capture_output=True, text=True).stdout.splitlines()
    words = (line.split() for line in lines if "(proc-macro)" not in line)
    return {(word[0], word[1].removeprefix("v")) for word in words if word}


def main(target: str) -> None:
    metadata = subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1"], check=True, capture_output=True, text=True)
    wanted = linked(target)
    packages = [package for package in json.loads(metadata.stdout)["packages"] if (package["name"], package["version"]) in wanted]
    packages = [package for package in packages if package["source"] is not None]
    texts: dict[str, list[str]] = {}
    print(f"kiln for {target} is linked with {len(packages)} packages.\n")
    for package in sorted(packages, key=lambda package: package["name"]):
        name = f"{package['name']} {package['version']}"
        licence = package["license"] or package["license_file"]
        if not licence:
            sys.exit(f"error: {name} names no licence")
        print(f"{name}: {licence}")
        folder = Path(package["manifest_path"]).parent
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE")):
                texts.setdefault(file.read_text(encoding="utf-8", errors="replace").strip(), []).append(f"{name} ({file.name})")
    for text, names in texts.items():
        print(f"\n{'-' * 100}\n{', '.join(names)}\n\n{text}")


if __name__ == "__main__":
    main(sys.argv[1])
