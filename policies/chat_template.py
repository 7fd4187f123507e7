"""Renders a chat template in the environment that transformers gives to templates.

The environment is sandboxed, because a template is code that comes with the weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from jinja2 import Template, TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from policies import clock
from policies.json_types import JsonMapping


class _GenerationTag(Extension):
    """Parses `{% generation %}…`, which marks the assistant's text for loss masks and is not used here."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads it from the class

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def compile_template(text: str) -> Template:
    """Compile a template.

    Raises:
        TemplateError: the text is not a template.
    """
    return _environment().from_string(text)


def variables_of(text: str) -> frozenset[str]:
    """Return the names of the variables that a template reads without setting them.

    Raises:
        TemplateError: the text is not a template.
    """
    return frozenset(meta.find_undeclared_variables(_environment().parse(text)))


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def render(template: Template, messages: Sequence[JsonMapping], **variables: object) -> str:
    """Return the conversation as text; `tools` and `documents` are None unless given, because templates test them."""
    return template.render(**{"messages": messages, "tools": None, "documents": None, **variables})


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own filter escapes HTML, and policies are trained on unescaped text.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return clock.now().replace(tzinfo=None).strftime(form)
