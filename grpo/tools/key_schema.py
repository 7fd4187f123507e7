"""`grpo keys --json-schema`: recipes as a JSON Schema, so that an editor completes keys and marks wrong ones.

Put `#:schema ./rl.schema.json` in the first line of a recipe (Taplo, Even Better TOML), or map the files to it in the
editor's settings. A rule that concerns several keys, such as steps and mini_batches, is checked by the stage alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from grpo.config.key_docs import key_doc, text_of
from grpo.config.kinds import section_in
from grpo.stages.registry import STAGES
from grpo.tools.keys import GRAPH, recipes_of
from policies.json_types import JsonDict

if TYPE_CHECKING:
    from pydantic_core import core_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class RecipeSchema(GenerateJsonSchema):
    """pydantic's generator, with the texts of the keys, and `false` where TOML has no null."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonDict:
        """Return the schema of a section."""
        found: JsonDict = super().model_schema(schema)
        config: type[BaseModel] = schema["cls"]
        for name, node in found.get("properties", {}).items():
            field = config.model_fields[name]
            node["description"] = text_of(config, name)
            node.pop("title", None)
            if section_in(field.annotation) is not None:
                node.pop("default", None)
                continue
            kind = key_doc(config, name).kind
            if kind is not None:
                node["description"] += f" ({kind})"
            if node.get("default", 0) is None:
                node["default"] = False
                if key_doc(config, name).default_text is None:
                    del node["default"]
        return found

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonDict:
        """Return the schema of a value that may be left out: `false` says so, but for a switch."""
        inner: JsonDict = self.generate_inner(schema["schema"])
        return inner if inner.get("type") == "boolean" else {"anyOf": [inner, {"const": False}]}


def schema_of(command: str | None) -> JsonDict:
    """Return the schema of a command's recipes; of all, each told by its key `stage`, for None.

    Raises:
        ConfigError: there is no such command.
    """
    if command is not None:
        return {"$schema": DIALECT, **recipes_of(command).model_json_schema(schema_generator=RecipeSchema)}
    rules = []
    definitions: JsonDict = {}
    for name in STAGES:
        definitions[name] = _embedded(name)
        told = {"properties": {"stage": {"const": name}}, "required": ["stage"]}
        rules.append({"if": told, "then": {"$ref": f"#/$defs/{name}"}})
    definitions[GRAPH] = _embedded(GRAPH)
    rules.append({"if": {"required": ["graph"]}, "then": {"$ref": f"#/$defs/{GRAPH}"}})
    one_of = {"anyOf": [{"required": ["stage"]}, {"required": ["graph"]}]}
    known = {"properties": {"stage": {"enum": list(STAGES)}}}
    return {"$schema": DIALECT, "type": "object", **one_of, **known, "allOf": rules, "$defs": definitions}


def _embedded(command: str) -> JsonDict:
    """Return a command's schema to stand in `$defs`, with its own definitions inside it."""
    return recipes_of(command).model_json_schema(
        schema_generator=RecipeSchema, ref_template=f"#/$defs/{command}/$defs/{{model}}"
    )
