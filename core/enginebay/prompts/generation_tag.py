"""The `{% generation %}` tag of transformers, which marks what the assistant said for training."""

from __future__ import annotations

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser


class GenerationTag(Extension):
    """Renders what stands between `{% generation %}` and `{% endgeneration %}` as if the tags were not there."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """The content in a scope of its own, as in transformers: what is set inside does not leave."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)
