"""The JSON schema of a study file, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any

from raytune_suite.space.declared import KINDS
from raytune_suite.study.model import Study

_NUMBER = {"type": "number"}
# a mapping with one list that is called nearly like a type is a misspelt parameter, not a section
_MISSPELT = {
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": {"pattern": "^q?(log)?_?(uni|unf|rand|rnd)|^(choi|chio|coi|gri)"},
    "additionalProperties": {"type": "array"},
}


def _parameter(name: str, arguments: tuple[str, ...], example: str) -> dict[str, Any]:
    values: dict[str, Any] = {"type": "array", "minItems": 1}
    if arguments:
        listed = {"type": "array", "items": _NUMBER, "minItems": min(2, len(arguments)), "maxItems": len(arguments)}
        named = {
            "type": "object",
            "properties": dict.fromkeys(arguments, _NUMBER),
            "additionalProperties": False,
        }
        values = {"anyOf": [listed, named]}
    modifiers = {"when": {"type": "string"}, "points": {"type": "integer", "minimum": 1}}
    return {
        "type": "object",
        "title": example,
        "properties": {name: values, **modifiers},
        "required": [name],
        "additionalProperties": False,
    }


def _entry() -> dict[str, Any]:
    parameters = [_parameter(name, kind.arguments, kind.example) for name, kind in KINDS.items()]
    constant = {"type": ["null", "boolean", "number", "string", "array"], "title": "a constant"}
    section = {
        "type": "object",
        "title": "a section",
        "propertyNames": {"not": {"enum": [*KINDS, "when"]}},
        "additionalProperties": {"$ref": "#/$defs/SpaceEntry"},
        "not": _MISSPELT,
    }
    return {"anyOf": [*parameters, constant, section]}


_SPACE: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"not": {"enum": [*KINDS]}},
    "additionalProperties": {"$ref": "#/$defs/SpaceEntry"},
}


def study_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a study file.

    It accepts what :class:`Study` accepts as far as a schema can say it, and rejects unknown keys.
    """
    schema = Study.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "raytune study"
    schema["description"] = "What is to be tuned, and how."
    schema["$defs"]["SpaceEntry"] = _entry()
    schema["properties"]["space"].update(_SPACE)
    return schema
