"""Filters as SQL conditions on the column `metadata`. Names and values are parameters, never text of the statement."""

from __future__ import annotations

from enginebay.interfaces.filters import Combine, Compare, Filter
from enginebay_plugins.pgvector.metadata import metadata_text, value_text

Condition = tuple[str, list[object]]
"""SQL text with placeholders, and what they stand for. It is true or false, never null, so that NOT turns it around."""

_ORDER = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_HAS = "metadata @> %s::jsonb"
_HAS_ANY = "metadata @> ANY (%s::jsonb[])"


def condition(where: Filter) -> Condition:
    """The records that match."""
    if isinstance(where, Combine):
        inner = [condition(operand) for operand in where.operands]
        if where.operator == "not":
            return f"NOT ({inner[0][0]})", inner[0][1]
        text = f" {where.operator.upper()} ".join(f"({text})" for text, _ in inner)
        return text, [one for _, parameters in inner for one in parameters]
    return _comparison(where)


def _comparison(where: Compare) -> Condition:
    name, operator, value = where.field, where.operator, where.value
    match operator:
        case "exists":
            return ("metadata ? %s" if value else "NOT metadata ? %s"), [name]
        case "contains":
            return _HAS, [metadata_text({name: [value]})]
        case "eq":
            return _HAS, [metadata_text({name: value})]
        case "ne":
            return f"NOT {_HAS}", [metadata_text({name: value})]
        case "in":
            return _HAS_ANY, [[metadata_text({name: one}) for one in value]]
        case "nin":
            return f"NOT {_HAS_ANY}", [[metadata_text({name: one}) for one in value]]
    if isinstance(value, str):
        # By bytes of UTF-8, whose order is that of code points, whatever the database's own collation.
        return _ordered(f"""(metadata ->> %s::text) COLLATE "C" {_ORDER[operator]} %s""", "string", name, value)
    return _ordered(
        f"(metadata -> %s::text)::numeric {_ORDER[operator]} %s::numeric", "number", name, value_text(value)
    )


def _ordered(comparison: str, kind: str, name: str, bound: str) -> Condition:
    text = f"CASE WHEN jsonb_typeof(metadata -> %s::text) = '{kind}' THEN {comparison} ELSE false END"
    return text, [name, name, bound]
