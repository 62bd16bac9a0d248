"""What a change of a resource's property costs, from the schemas that AWS publishes of its resource types.

They come with cfn-lint, which moto brings along.
"""

import functools
import importlib.util
import json
from pathlib import Path

SCHEMAS = Path(importlib.util.find_spec("cfnlint").origin).parent / "data/schemas"  # importing all of it takes a second


@functools.cache
def of_region() -> dict[str, str]:
    """The name of each type's schema; the regions differ only in which types they have."""
    return json.loads((SCHEMAS / "providers/us-east-1.json").read_text())


@functools.cache
def schema(kind: str) -> dict:
    return json.loads((SCHEMAS / "resources" / (of_region()[kind] + ".json")).read_text())


def is_known(kind: str) -> bool:
    return kind in of_region()


@functools.cache
def recreation(kind: str, name: str) -> str:
    """Whether a change of the property makes the resource anew: Always, Conditionally or Never."""
    named = lambda key: {path.split("/")[2] for path in schema(kind).get(key, [])}
    if name in named("createOnlyProperties"):
        return "Always"
    return "Conditionally" if name in named("conditionalCreateOnlyProperties") else "Never"


def unknown_properties(kind: str, properties: dict) -> list[str]:
    return sorted(set(properties) - set(schema(kind)["properties"]))
