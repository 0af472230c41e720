"""Search a few documents by meaning, by words and by metadata. Which store holds them is configuration, not code.

python examples/search.py "Which animal guards a house?"
ENGINEBAY_COLLECTIONS__LIBRARY__STORE=chroma python examples/search.py "…"

In a file it is one line, too: `store = "chroma"` below `[collections.library]`.
"""

import argparse

from enginebay import Bay, F
from enginebay.retrieval import Document, Index

DOCUMENTS = (
    Document("cat", "A cat sleeps for most of the day and hunts mice at night.", {"kind": "animal", "legs": 4}),
    Document("dog", "A dog barks at strangers and guards the house.", {"kind": "animal", "legs": 4}),
    Document("hen", "A hen lays an egg nearly every day.", {"kind": "animal", "legs": 2}),
    Document("bread", "Bread is made of flour, water, salt and yeast.", {"kind": "food"}),
    Document("soup", "Onion soup is cooked slowly and served with cheese.", {"kind": "food"}),
    Document("error", "Error E4711 means that the disk is full.", {"kind": "manual", "page": 12}),
)


def answers(bay: Bay, question: str) -> dict[str, list[str]]:
    """What is found, by how it was looked for: ids of documents, the best first."""
    index = Index.open(bay, "library")
    index.upsert(DOCUMENTS)
    index.remove("soup")
    return {
        "hybrid": [passage.source for passage in index.search(question, 3)],
        "vectors": [passage.source for passage in index.search(question, 3, mode="vector")],
        "words": [passage.source for passage in index.search("E4711", 3, mode="lexical")],
        "animals": [passage.source for passage in index.search(question, 3, where=F.kind == "animal")],
        "no animal": [passage.source for passage in index.search(question, 3, where=~F.legs.exists())],
    }


def main() -> None:
    """Search, and say where."""
    parser = argparse.ArgumentParser(description="Search a few documents.")
    parser.add_argument("question", nargs="?", default="Which animal guards a house?")
    arguments = parser.parse_args()
    with Bay() as bay:
        for how, found in answers(bay, arguments.question).items():
            print(f"{how}: {', '.join(found)}")
        print(f"({Index.open(bay, 'library').collection.backend})")


if __name__ == "__main__":
    main()
