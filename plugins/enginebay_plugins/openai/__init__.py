"""OpenAI-compatible servers, one backend for each kind: they agree on the protocol, not on what they honour."""

from collections.abc import Iterable

from enginebay import BackendSpec, Concurrency, DeviceKind, DeviceSupport, Feature, Interface, ModelFormat, hookimpl

api_version = 1

_COMMON = frozenset({"temperature", "top_p", "max_tokens", "stop", "seed"})
_PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})
_FEATURES = frozenset({Feature.STREAMING, Feature.MESSAGES, Feature.CONTINUOUS_BATCHING})


def _server(name: str, summary: str, sampling: frozenset[str], features: Iterable[Feature] = ()) -> BackendSpec:
    return BackendSpec(
        name=name,
        interface=Interface.GENERATOR,
        summary=summary,
        factory="enginebay_plugins.openai.engine:open_engine",
        check="enginebay_plugins.openai.checks:check",
        requires=("openai>=1.60", "httpx>=0.27", "tenacity>=9", "llguidance>=1.3,<2"),
        install="pip install 'enginebay[openai]'",
        devices=(DeviceSupport(kind=DeviceKind.REMOTE, step_overhead=2e-2, overhead_bytes=0),),
        formats=frozenset({ModelFormat.REMOTE}),
        features=_FEATURES | frozenset(features),
        sampling=_COMMON | sampling,
        concurrency=Concurrency.CONTINUOUS_BATCHING,
        max_streams=256,
        options=f"enginebay_plugins.openai.options:{_OPTIONS[name]}",
    )


_OPTIONS = {
    "openai": "OpenAIOptions",
    "openai_vllm": "VllmServerOptions",
    "openai_llama_cpp": "LlamaServerOptions",
    "openai_tgi": "TgiOptions",
    "openai_ollama": "OllamaOptions",
    "openai_lm_studio": "LmStudioOptions",
    "openai_mlc": "MlcServerOptions",
}
"""Each server has its own address by default."""

BACKENDS = (
    _server(
        "openai",
        "OpenAI's API, and servers that keep to it",
        _PENALTIES | {"logit_bias", "logprobs"},
        {Feature.LOGPROBS, Feature.JSON_SCHEMA},
    ),
    _server(
        "openai_vllm",
        "vllm serve",
        _PENALTIES | {"top_k", "min_p", "repetition_penalty", "logit_bias", "logprobs"},
        {
            Feature.LOGPROBS,
            Feature.CHOICES,
            Feature.REGEX,
            Feature.JSON_SCHEMA,
            Feature.GRAMMAR,
            Feature.PREFIX_CACHE,
        },
    ),
    # Its presence and frequency penalties also count the prompt, so they are not among them.
    _server(
        "openai_llama_cpp",
        "llama.cpp's llama-server",
        frozenset({"top_k", "min_p", "repetition_penalty", "logit_bias", "logprobs"}),
        {Feature.LOGPROBS, Feature.JSON_SCHEMA, Feature.CHOICES, Feature.GRAMMAR, Feature.PREFIX_CACHE},
    ),
    _server("openai_tgi", "Hugging Face's Text Generation Inference", frozenset(), {Feature.JSON_SCHEMA}),
    # These two run on llama.cpp, with its penalties.
    _server("openai_ollama", "Ollama", frozenset(), {Feature.JSON_SCHEMA}),
    _server("openai_lm_studio", "LM Studio", frozenset({"top_k"}), {Feature.JSON_SCHEMA}),
    _server("openai_mlc", "mlc_llm serve", _PENALTIES | {"logit_bias"}, {Feature.JSON_SCHEMA}),
)


def _embedder(name: str, summary: str, options: str) -> BackendSpec:
    """The embedder of a kind of server."""
    return BackendSpec(
        name=name,
        interface=Interface.EMBEDDER,
        summary=summary,
        factory="enginebay_plugins.openai.embedder:open_engine",
        check="enginebay_plugins.openai.checks:check",
        requires=("openai>=1.60", "httpx>=0.27", "tenacity>=9"),
        install="pip install 'enginebay[openai]'",
        devices=(DeviceSupport(kind=DeviceKind.REMOTE, step_overhead=2e-2, overhead_bytes=0),),
        formats=frozenset({ModelFormat.REMOTE}),
        features=frozenset({Feature.EMBEDDING_MODULES}),
        concurrency=Concurrency.CONTINUOUS_BATCHING,
        max_streams=2048,
        options=f"enginebay_plugins.openai.options:{options}",
    )


EMBEDDERS = (
    _embedder("openai", "OpenAI's API, and servers that keep to it", "OpenAIEmbeddingOptions"),
    _embedder("openai_vllm", "vllm serve", "VllmEmbeddingOptions"),
    # These two drop `dimensions` in silence.
    _embedder("openai_llama_cpp", "llama.cpp's llama-server", "LlamaServerOptions"),
    _embedder("openai_lm_studio", "LM Studio", "LmStudioOptions"),
    _embedder("openai_ollama", "Ollama", "OllamaEmbeddingOptions"),
)


@hookimpl
def backends() -> Iterable[BackendSpec]:
    """One for each kind of server and each interface that it has."""
    return BACKENDS + EMBEDDERS
