"""Tasks over an open generator: each one fits its prompt into the context and says what it left out.

Every function takes a `GeneratorHandle` first and has an async twin, with an "a" before its name.
"""

from enginebay.prompts.examples import Example
from enginebay.prompts.library import PromptLibrary
from enginebay.prompts.messages import Message
from enginebay.prompts.passages import Citation, Passage
from enginebay.prompts.strategies import (
    ChainOfThought,
    FewShot,
    RetrievalAugmented,
    Strategy,
    ZeroShot,
    ZeroShotChainOfThought,
)
from enginebay.prompts.tool_calls import ToolCall, parse_tool_calls
from enginebay.prompts.tools import Tool
from enginebay.tasks.answers import (
    Answer,
    CitedAnswer,
    Classification,
    Extraction,
    Reply,
    Summary,
    ToolAnswer,
    Turn,
)
from enginebay.tasks.asking import aask, ask
from enginebay.tasks.calling import arun_tools, run_tools
from enginebay.tasks.citing import aanswer_with_citations, answer_with_citations
from enginebay.tasks.classifying import aclassify, classify
from enginebay.tasks.completing import acomplete, complete
from enginebay.tasks.conversation import Conversation
from enginebay.tasks.driver import default_library
from enginebay.tasks.extracting import aextract, aextract_json, extract, extract_json
from enginebay.tasks.summarising import asummarise, summarise
from enginebay.tasks.tool_use import ToolUse
from enginebay.tasks.translating import atranslate, translate

__all__ = [
    "Answer",
    "ChainOfThought",
    "Citation",
    "CitedAnswer",
    "Classification",
    "Conversation",
    "Example",
    "Extraction",
    "FewShot",
    "Message",
    "Passage",
    "PromptLibrary",
    "Reply",
    "RetrievalAugmented",
    "Strategy",
    "Summary",
    "Tool",
    "ToolAnswer",
    "ToolCall",
    "ToolUse",
    "Turn",
    "ZeroShot",
    "ZeroShotChainOfThought",
    "aanswer_with_citations",
    "aask",
    "aclassify",
    "acomplete",
    "aextract",
    "aextract_json",
    "answer_with_citations",
    "arun_tools",
    "ask",
    "asummarise",
    "atranslate",
    "classify",
    "complete",
    "default_library",
    "extract",
    "extract_json",
    "parse_tool_calls",
    "run_tools",
    "summarise",
    "translate",
]
