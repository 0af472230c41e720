"""The friendly side of a generator."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from enginebay.errors import (
    ContextLengthError,
    EngineOpenError,
    FallbackWarning,
    InvalidParameterError,
    NoMatchError,
    UnsupportedFeatureError,
    UnsupportedParameterError,
)
from enginebay.generation.results import Result
from enginebay.generation.run import Run
from enginebay.generation.scoring import (
    LogLikelihood,
    Perplexity,
    checked_window,
    continuation_ids,
    passes,
    perplexity_of,
)
from enginebay.generation.streams import AsyncTextStream, TextStream, collect, collect_batch, drain
from enginebay.interfaces.generator import Generator
from enginebay.interfaces.logits import LogitsModel
from enginebay.opened import Handle, OpenEngine
from enginebay.prompts.chat_template import ChatTemplate, RenderedPrompt
from enginebay.prompts.messages import Messages, as_messages
from enginebay.prompts.tools import Tool
from enginebay.sampling.logits_generator import LogitsGenerator
from enginebay.sampling.plan import given_features, make_params
from enginebay.spec import BackendSpec, Feature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from enginebay.interfaces.generator import Scores
    from enginebay.matching.decision import Decision, Match
    from enginebay.models.info import ModelInfo
    from enginebay.sampling.params import SamplingParams


class OpenGenerator(OpenEngine[Generator]):
    """An open generator."""

    @cached_property
    def sampled(self) -> Generator:
        """The core's sampler over the engine's logits, for parameters that are not native to it."""
        return LogitsGenerator(self.engine.logits_model())


def hold_generator(
    engine: object, spec: BackendSpec, match: Match, model: ModelInfo, decision: Decision
) -> OpenGenerator:
    """What a factory gave, as an open generator.

    Raises:
        TypeError: it is none.
    """
    if isinstance(engine, LogitsModel):
        engine = LogitsGenerator(engine)
    if not isinstance(engine, Generator):
        raise TypeError(f"the factory returned {type(engine).__name__}, not a Generator or a LogitsModel")
    return OpenGenerator(engine, spec, match, model, decision)


@dataclass(frozen=True)
class GeneratorHandle(Handle[Generator]):
    """An open generator as users hold it; made by `Bay.generator`.

    Sampling parameters are given by name (see `SamplingParams`), over the configured defaults; `choices`,
    `regex`, `json_schema` and `grammar` are short for a constraint.

    Attributes:
        defaults: configured sampling parameters.
        system: configured system prompt, put before conversations that have none.
        elsewhere: opens the same generator on a backend that has what a request needs; None when the backend is fixed.
    """

    opened: OpenGenerator
    defaults: dict[str, Any] = field(default_factory=dict)
    system: str | None = None
    others: Callable[[], Sequence[BackendSpec]] = tuple
    elsewhere: Callable[[SamplingParams], GeneratorHandle] | None = None

    def chat(self, messages: Messages, *, tools: Sequence[Tool] = (), **sampling: Any) -> Result:
        """Answer a conversation.

        Args:
            messages: one user message as text, or messages with role and content.
            tools: what the model may call, if its template knows tools; `tasks.run_tools` also runs the calls.

        Raises:
            PromptError: the chat template refuses the messages.
            InvalidParameterError, UnsupportedParameterError: a sampling parameter is wrong here.
            ContextLengthError: the prompt does not fit.
            GenerationError: the engine failed; carries the partial text.
            EngineClosedError: the engine or its bay was closed.
        """
        return self._whole(self.render(messages, tools=tools), sampling)

    def complete(self, prompt: str, **sampling: Any) -> Result:
        """Continue a text as it stands, without a chat template. Raises as `chat` does."""
        return self._whole(RenderedPrompt(prompt), sampling)

    def stream_chat(self, messages: Messages, *, tools: Sequence[Tool] = (), **sampling: Any) -> TextStream:
        """Answer a conversation chunk by chunk. Raises as `chat` does, parameter errors at once."""
        return TextStream(self._run(self.render(messages, tools=tools), sampling))

    def stream(self, prompt: str, **sampling: Any) -> TextStream:
        """Continue a text chunk by chunk. Raises as `chat` does, parameter errors at once."""
        return TextStream(self._run(RenderedPrompt(prompt), sampling))

    async def achat(self, messages: Messages, *, tools: Sequence[Tool] = (), **sampling: Any) -> Result:
        """Async twin of `chat`."""
        return await drain(self.astream_chat(messages, tools=tools, **sampling))

    async def acomplete(self, prompt: str, **sampling: Any) -> Result:
        """Async twin of `complete`."""
        return await drain(self.astream(prompt, **sampling))

    def astream_chat(self, messages: Messages, *, tools: Sequence[Tool] = (), **sampling: Any) -> AsyncTextStream:
        """Async twin of `stream_chat`."""
        return AsyncTextStream(self._run(self.render(messages, tools=tools), sampling))

    def astream(self, prompt: str, **sampling: Any) -> AsyncTextStream:
        """Async twin of `stream`."""
        return AsyncTextStream(self._run(RenderedPrompt(prompt), sampling))

    def chat_batch(
        self, conversations: Sequence[Messages], *, tools: Sequence[Tool] = (), **sampling: Any
    ) -> list[Result]:
        """Answer many conversations, as many at once as the engine takes; results in the order given."""
        return collect_batch([self._run(self.render(messages, tools=tools), sampling) for messages in conversations])

    def complete_batch(self, prompts: Sequence[str], **sampling: Any) -> list[Result]:
        """Continue many texts, as many at once as the engine takes; results in the order given."""
        return collect_batch([self._run(RenderedPrompt(prompt), sampling) for prompt in prompts])

    def render(self, messages: Messages, *, tools: Sequence[Tool] = ()) -> RenderedPrompt:
        """The prompt that the model's chat template makes of the messages.

        Raises:
            UnsupportedFeatureError: the model brings no chat template, or one that knows no tools.
            PromptError: the template refuses the messages.
        """
        conversation = as_messages(messages, self.system)
        if self.model.chat_template is None and Feature.MESSAGES in self.spec.features:
            return RenderedPrompt(
                "",
                messages=tuple(message.model_dump(mode="json") for message in conversation),
                tools=tuple(tool.definition for tool in tools),
            )
        return self._template.render(conversation, tools=tools)

    def log_likelihood(self, text: str, *, after: str = "") -> LogLikelihood:
        """How likely a text is as the continuation of another.

        Args:
            after: what comes before it; "" means the begin token, or the end token for a model without one. What is
                longer than the context is cut at its beginning.

        Raises:
            UnsupportedFeatureError: the engine does not score.
            InvalidParameterError: the text has no tokens.
            ContextLengthError: the text alone is longer than the context.
            GenerationError: the engine failed.
        """
        whole, start = continuation_ids(self.tokenize, after, text, begin=self.model.bos or self.model.eos)
        if start == len(whole):
            raise InvalidParameterError("the text has no tokens", value=text)
        length = len(whole) - start
        if length >= self.context_length:
            raise ContextLengthError(length, self.context_length)
        cut = max(0, len(whole) - self.context_length)
        scores = self.score(whole[cut:])
        return LogLikelihood(float(scores.logprobs[-length:].sum()), length, bool(scores.greedy[-length:].all()))

    def perplexity(
        self,
        text: str,
        *,
        window: int | None = None,
        stride: int | None = None,
        tell: Callable[[float], None] = lambda share: None,
    ) -> Perplexity:
        """How well the model foretells a text.

        Args:
            window: tokens of one pass; None takes 512, or the context if that is shorter.
            stride: tokens of a pass that are new; None takes half a window.
            tell: told the share of the text that is done, 0 to 1.

        Raises:
            UnsupportedFeatureError, GenerationError: see `log_likelihood`.
            InvalidParameterError: the text has fewer than two tokens, or window and stride do not fit.
        """
        window, stride = checked_window(window, stride, self.context_length)
        tokens = self.tokenize(text, add_bos=True)
        if len(tokens) < 2:
            raise InvalidParameterError("a perplexity needs two tokens at least", value=text)
        logprobs: list[float] = []
        for part in self.score_windows(tokens, window, stride):
            logprobs += part.tolist()
            tell(len(logprobs) / (len(tokens) - 1))
        return perplexity_of(logprobs, window, stride)

    def score_windows(self, tokens: Sequence[int], window: int, stride: int) -> Iterator[NDArray[np.float64]]:
        """Log-probabilities of a text of any length: of each token but the first, in the windows of `passes`.

        Raises as `log_likelihood` does.
        """
        for each in passes(tokens, window, stride):
            yield self.score(each.tokens).logprobs[each.first - 1 :]

    def prompt_logits(self, tokens: Sequence[int]) -> NDArray[np.floating]:
        """Raw logits that follow each of the tokens, shape (tokens, vocabulary). Raises as `log_likelihood` does."""
        self._check_scores()
        with self.gate or nullcontext():
            return self.engine.prompt_logits(tokens)

    def score(self, tokens: Sequence[int]) -> Scores:
        """Log-probabilities of given tokens, two at least. Raises as `log_likelihood` does."""
        self._check_scores()
        with self.gate or nullcontext():
            return self.engine.score(tokens)

    def _check_scores(self) -> None:
        self.check_open()
        if Feature.SCORING not in given_features(self.spec):
            raise UnsupportedFeatureError(
                f"the backend {self.spec.name!r} does not score texts that are given",
                value=self.spec.name,
                hint="open the model for it: bay.generator(…, features=['scoring'])",
            )

    def tokenize(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Token ids of a text; special tokens written in it are parsed as such."""
        self.check_open()
        return self.engine.tokenize(text, add_bos=add_bos)

    @property
    def context_length(self) -> int:
        """Tokens that one sequence may hold, prompt and output together."""
        return self.engine.context_length

    @cached_property
    def _template(self) -> ChatTemplate:
        source = self.model.chat_template
        if source is None:
            raise UnsupportedFeatureError(
                f"the model {self.model.reference!r} brings no chat template",
                value=self.model.reference,
                hint="use complete() with a prompt of your own, or an instruction-tuned model",
            )
        return ChatTemplate(source, bos=self.model.bos, eos=self.model.eos, add_bos=self.model.add_bos)

    def _run(self, prompt: RenderedPrompt, sampling: dict[str, Any]) -> Run:
        params = make_params(self.defaults, sampling)
        try:
            return Run(self, prompt, params)
        except UnsupportedParameterError as error:
            return Run(self._other(params, error), prompt, params)

    def _other(self, params: SamplingParams, lacking: UnsupportedParameterError) -> GeneratorHandle:
        """The same model on a backend that can do the request, where the configuration leaves the choice open."""
        if self.elsewhere is None:
            raise lacking
        try:
            other = self.elsewhere(params)
        except (NoMatchError, EngineOpenError) as error:
            raise lacking from error
        warnings.warn(f"{lacking.message}: the request goes to {other.spec.name}", FallbackWarning, stacklevel=5)
        return other

    def _whole(self, prompt: RenderedPrompt, sampling: dict[str, Any]) -> Result:
        return collect(self._run(prompt, sampling))
