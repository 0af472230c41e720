"""Options of servers, with the address each listens on by default."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ServerOptions(BaseModel):
    """Options of any OpenAI-compatible server.

    Attributes:
        base_url: address of the API, with its version ("http://127.0.0.1:8000/v1").
        api_key: the key itself, or "env:NAME" for an environment variable; None sends none.
        headers: sent with every request.
        connect_timeout: seconds to reach the server.
        read_timeout: seconds to wait for the next bytes of an answer.
        retries: how often a request that the server did not take (429, 5xx, no connection) is tried again, with
            exponential back-off and jitter, or when the server says. Nothing is tried again after the first chunk.
        most_wait: longest pause between two tries, in seconds.
        context_length: tokens the model holds, for a server that does not tell.
        check_model: ask the server for its models when the engine is opened.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str
    api_key: SecretStr | None = None
    headers: dict[str, str] = {}
    connect_timeout: Annotated[float, Field(gt=0)] = 5.0
    read_timeout: Annotated[float, Field(gt=0)] = 120.0
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    most_wait: Annotated[float, Field(gt=0)] = 20.0
    context_length: Annotated[int, Field(ge=1)] | None = None
    check_model: bool = True


class OpenAIOptions(ServerOptions):
    """OpenAI's own API; the key comes from OPENAI_API_KEY."""

    base_url: str = "https://api.openai.com/v1"
    api_key: SecretStr | None = SecretStr("env:OPENAI_API_KEY")


class VllmServerOptions(ServerOptions):
    """vllm serve."""

    base_url: str = "http://127.0.0.1:8000/v1"


class LlamaServerOptions(ServerOptions):
    """llama-server."""

    base_url: str = "http://127.0.0.1:8080/v1"


class TgiOptions(ServerOptions):
    """Text Generation Inference."""

    base_url: str = "http://127.0.0.1:3000/v1"


class OllamaOptions(ServerOptions):
    """Ollama."""

    base_url: str = "http://127.0.0.1:11434/v1"


class LmStudioOptions(ServerOptions):
    """LM Studio."""

    base_url: str = "http://127.0.0.1:1234/v1"


class MlcServerOptions(ServerOptions):
    """mlc_llm serve."""

    base_url: str = "http://127.0.0.1:8000/v1"


class EmbeddingOptions(ServerOptions):
    """Options of a server that embeds.

    Attributes:
        dimensions: width of the vectors, for models that were trained to be cut short (Matryoshka).
    """

    dimensions: Annotated[int, Field(ge=1)] | None = None


class OpenAIEmbeddingOptions(OpenAIOptions, EmbeddingOptions):
    """OpenAI's own API; the key comes from OPENAI_API_KEY."""


class VllmEmbeddingOptions(VllmServerOptions, EmbeddingOptions):
    """vllm serve."""


class OllamaEmbeddingOptions(OllamaOptions, EmbeddingOptions):
    """Ollama."""
