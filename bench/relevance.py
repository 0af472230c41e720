"""Which similarity tells that nothing relevant was found: python -m bench.relevance

Indexes docs/ and README.md with all-minilm-l6-v2 and prints, for each threshold, how many questions that are answered
there it keeps, and how many others it refuses.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from enginebay import Bay
from enginebay.retrieval import Index

ROOT = Path(__file__).parent.parent

ANSWERED = """How do I switch a plugin off without importing it?
Which metrics does a collection have?
What happens to metadata values that are None?
How many bytes of memory does a vector of 384 numbers take in sqlite?
Is the search of the sqlite store exact or approximate?
What does a record without the field match in filters?
Why is a plugin quarantined?
How long may an endless import take before it is stopped?
Where are the prompt files looked up?
What does the environment variable ENGINEBAY_PLUGINS do?
How do I write a secret in the configuration?
Which file formats does CTranslate2 need?
What is the order of precedence of configuration sources?
How are conversations shortened when the context is full?
How do I resume a broken download?
What does repetition_penalty mean?
Which devices does llama.cpp support?
How does the matcher estimate the speed of an engine?
Which tool call formats are read?
How do I run the tests?
How do I cancel a stream?
What does min_p do?
How can I see what would be chosen on another machine?
How is available memory found in a container?
What is a mirror of a catalogue entry?
What does enginebay doctor do?
How do I verify my own generator backend?
Which licence does the project have?
How do I ask for output in JSON under a schema?
What does the term bay mean?""".splitlines()
"""Questions that docs/ and README.md answer."""

UNANSWERED = """What is the capital of Mongolia?
Who won the football world cup in 1998?
How long should I boil an egg?
What is the best fertilizer for tomatoes?
How do I change the oil of a car?
When was the Eiffel tower built?
What are the symptoms of diabetes?
How do I train for a marathon?
Who painted the Mona Lisa?
How do vaccines work?
What is the speed of light in vacuum?
How do I knit a scarf?
What is the exchange rate of the euro?
Which planets have rings?
How do I learn to play the guitar?
What did Napoleon do in Russia?
How do I file my taxes in Germany?
What is the plot of Hamlet?
How do I get rid of mice in the attic?
What is the recipe of a carbonara?
Which airport is closest to Kyoto?
How do bees make honey?
Why is the sky blue?
How do I remove a wine stain?
What is the GDP of Brazil?
How do I write a React component?
How do I configure an nginx reverse proxy?
What does the Kubernetes scheduler do?
How do I merge two git branches?
How do I sort a list in Haskell?
How does TCP congestion control work?
What is a SQL window function?""".splitlines()
"""Questions that they do not."""


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, Bay(overrides={"stores": {"here": _store(folder)}}) as bay:
        index = Index.open(bay, "relevance", store="here", embedder="all-minilm-l6-v2", search="vector", root=ROOT)
        index.sync(ROOT / "docs", ROOT / "README.md")
        kept, others = (
            [index.search(question, 1)[0].similarity or 0.0 for question in questions]
            for questions in (ANSWERED, UNANSWERED)
        )
    print("threshold  answered, kept  others, refused")
    for step in range(20, 52, 2):
        least = step / 100
        known = sum(near >= least for near in kept)
        refused = sum(near < least for near in others)
        print(f"{least:9.2f} {known:7} of {len(kept)} {refused:8} of {len(others)}")


def _store(folder: str) -> dict[str, str]:
    return {"backend": "sqlite", "path": folder}


if __name__ == "__main__":
    main()
