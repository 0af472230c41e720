"""Ask one question. Which engine answers is configuration, not code.

python examples/ask.py "What is the capital of France?"
ENGINEBAY_GENERATORS__CHAT__BACKEND=llama_cpp python examples/ask.py "…"
python examples/ask.py --backend transformers "…"
"""

import argparse

from enginebay import Bay


def main() -> None:
    """Ask, and say who answered."""
    parser = argparse.ArgumentParser(description="Ask one question.")
    parser.add_argument("question")
    parser.add_argument("--backend", help="override the configured backend")
    arguments = parser.parse_args()
    flags = {"generators": {"chat": {"backend": arguments.backend}}} if arguments.backend else None
    with Bay(flags=flags) as bay:
        chat = bay.generator("chat")
        answer = chat.chat(arguments.question, temperature=0, max_tokens=60)
        print(answer.text)
        print(f"({answer.backend} on {answer.device}, {answer.timing.tokens_per_second:.0f} tokens/s)")


# Some engines, like vLLM, start child processes that import this file.
if __name__ == "__main__":
    main()
