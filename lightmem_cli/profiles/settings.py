"""Says how a conversation is treated: one table of settings per stage, each key with its default.

Only what this version can open is a value here: a backend that comes later brings its own name, and until then
naming it is a mistake in the profile rather than a surprise in the middle of a run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lightmem_cli.records import Roles

VERSION: Literal[1] = 1  # of the profile's format; a profile with a higher one is refused

SECRETS: Final = r"api[-_]?key|secret|password|authorization|headers$|token$"  # named so, never in a profile

_ADDRESS: Final = "an address such as http://127.0.0.1:8000/v1"

Keep: TypeAlias = Literal["digits", "names", "negations", "dates", "quotes", "code", "urls"]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # a folder of the zone database raises IsADirectoryError
        raise ValueError("an IANA time zone such as UTC or Europe/Berlin") from error
    return name


def _stemmed_language(name: str) -> str:
    import Stemmer

    if name != "none" and name not in Stemmer.algorithms():
        raise ValueError(f"none, or one of {', '.join(Stemmer.algorithms())}")
    return name


def _embedder(name: str) -> str:
    if name not in ("onnx", "sentence-transformers", "hashing") and not re.fullmatch(r"[\w.-]+:[\w.-]+", name):
        raise ValueError('"onnx", "sentence-transformers", "hashing", or an outside one as "package:name"')
    return name


def _listed(value: object) -> object:
    """A list as the environment and `config set` have it: its parts between commas, or "none"."""
    if not isinstance(value, str):
        return value
    return [part for part in re.split(r"[\s,]+", value) if part and value.strip() != "none"]


def _variable(name: str) -> str:
    # A key that was written here in place of a name must not be believed, nor said again.
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise ValueError("the name of an environment variable, such as OPENAI_API_KEY: keys themselves are kept there")
    return name


def _object(value: object) -> object:
    """A table as the environment and `config set` have it: JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError as error:
        raise ValueError('a JSON object such as {"seed": 1}') from error


def _names(value: object) -> Iterator[str]:
    """The names of all that stands in a value, however deep."""
    if isinstance(value, dict):
        yield from value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _names(one)


def _without_secrets(options: dict[str, object]) -> dict[str, object]:
    if any(re.search(SECRETS, name.lower()) for name in _names(options)):
        raise ValueError("without keys and passwords: they are kept in the environment (llm.api_key_env names where)")
    return options


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets without an end
        raise ValueError(_ADDRESS) from None
    if parts.username or parts.password or parts.query:  # a key may be any of them
        raise ValueError("without keys and passwords: they are kept in the environment (llm.api_key_env names where)")
    if url and parts.scheme not in ("http", "https"):
        raise ValueError(_ADDRESS)
    return url


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Transcript(Table):
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"  # of times that come without one

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Compress(Table):
    # A memory keeps the shortened texts of topics that have ended: with segment.use = "none" it has none.
    use: Literal["none", "llmlingua2", "entropy"] = "none"
    # A Hub name or a folder. llmlingua2: "" is its multilingual BERT; entropy: "" is word frequencies, no model at all
    model: str = ""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.6  # the fraction of tokens that is kept
    minimum: Annotated[int, Field(ge=0)] = 8  # of each message at least so many tokens are kept
    keep: Annotated[list[Keep], BeforeValidator(_listed)] = list(get_args(Keep))  # what always stays
    roles: Roles = "both"  # whose messages are shortened
    surprise: Literal["average", "first"] = "average"  # entropy with a model: what a word's tokens come to
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["int8", "fp32"] = "int8"  # of LLMLingua-2's models on a cpu: int8 through onnxruntime


class Segment(Table):
    use: Literal["none", "similarity", "attention", "hybrid"] = "similarity"
    silence_minutes: Annotated[float, Field(gt=0)] = 60  # between two messages; a longer one always ends the topic
    buffer_tokens: Annotated[int, Field(ge=16)] = 512  # attention, hybrid: what is read at once, and a topic's longest
    model: str = ""  # attention, hybrid: whose attention; "" is that of compress.model where llmlingua2 is used
    alike: Annotated[float, Field(ge=-1, le=1)] = 0.5  # hybrid: a cosine of neighbours from here on is one topic
    tolerance: Annotated[int, Field(ge=0)] = 1  # hybrid: turns by which attention and similarity may differ


class Extract(Table):
    use: Literal["rules", "llm"] = "rules"
    roles: Roles = "user"  # whose messages become facts; all are indexed as turns
    threshold: Share = 0.2  # rules: how much a sentence must say to become a fact; llm: the importance it is given
    # The rest is for llm alone.
    mode: Literal["flat", "event"] = "flat"  # facts, or facts and relations of the same turns (StructMem)
    buffer_tokens: Annotated[int, Field(ge=64)] = 512  # ended topics are gathered up to here, and sent in one call
    text: Literal["compressed", "original"] = "compressed"  # what is sent, where compress.use shortens
    metadata: bool = False  # keywords, entities and a category of each fact
    summary: bool = False  # and a summary of each topic


class Llm(Table):
    use: Literal["none", "ollama", "openai", "transformers", "scripted"] = "none"
    model: str = ""  # its name at the server; transformers: a Hub name or a folder; scripted: a file of replies
    # "": ollama's is OLLAMA_HOST or http://127.0.0.1:11434, openai's https://api.openai.com/v1
    base_url: Annotated[str, AfterValidator(_without_password)] = ""
    api_key_env: Annotated[str, AfterValidator(_variable)] = "OPENAI_API_KEY"  # holds the key; this one is for OpenAI's
    temperature: Annotated[float, Field(ge=0, le=2)] = 0
    # auto: as the model does by itself; on, or how hard: a call may take 2,000 tokens more
    thinking: Literal["auto", "off", "on", "low", "medium", "high"] = "auto"
    context: Annotated[int, Field(ge=0)] = 0  # tokens of a prompt and its reply, at most; 0: what the model has
    timeout_seconds: Annotated[float, Field(gt=0)] = 120  # without a sign of the server
    retries: Annotated[int, Field(ge=0, le=20)] = 4  # of what is worth trying again
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4  # calls at once
    keep_alive: str = "10m"  # ollama: how long the model stays loaded
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # transformers
    kv_cache: bool = True  # transformers: what was computed of a prompt's fixed part is kept
    options: Annotated[
        dict[str, object], BeforeValidator(_object), AfterValidator(_without_secrets)
    ] = {}  # sent to the server as they are


class Embed(Table):
    use: Annotated[str, AfterValidator(_embedder)] = "onnx"
    model: Annotated[str, Field(min_length=1)] = "all-MiniLM-L6-v2"  # sentence-transformers: a Hub name or a folder
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # sentence-transformers
    precision: Literal["int8", "fp32"] = "int8"  # onnx
    workers: Annotated[int, Field(ge=0, le=256)] = 0  # threads that embed; 0: one per core


class Store(Table):
    vectors: Literal["faiss"] = "faiss"
    words: Literal["fts5", "rank-bm25"] = "fts5"
    language: Annotated[str, AfterValidator(_stemmed_language)] = "english"  # whose word endings are cut off


class Update(Table):
    use: Literal["rules", "llm"] = "rules"  # llm: what rules leave apart is shown to the language model
    top_k: Annotated[int, Field(ge=1, le=50)] = 3  # llm: newer facts that an older one is compared with, at most
    # llm: the cosine from which a newer fact may correct an older one; .55 of BEAM's updates and contradictions do
    near: Share = 0.6
    when: Literal["offline", "online"] = "offline"  # at `lightmem update`, or also at the end of every ingest
    threshold: Share = 0.87  # the cosine from which two facts may say the same


class Summarize(Table):
    window: Literal["session", "day", "week", "month"] = "day"
    sentences: Annotated[int, Field(ge=1, le=100)] = 6  # of a summary, at most
    use: Literal["rules", "llm"] = "rules"  # rules: the facts that say most, word for word
    seeds: Annotated[int, Field(ge=0, le=100)] = 8  # llm: related entries from outside the window that it is shown
    scope: Literal["historical", "global"] = "historical"  # llm: seeds from before the window, or from any time


class Retrieve(Table):
    strategy: Literal["hybrid", "vectors", "words"] = "hybrid"
    limit: Annotated[int, Field(ge=1, le=10_000)] = 20


class Ask(Table):
    budget_tokens: Annotated[int, Field(ge=100)] = 2000  # of memory in a prompt
    most: Annotated[int, Field(ge=16)] = 600  # tokens of an answer


class Settings(Table):
    """A whole profile.toml."""

    version: Literal[1] = VERSION
    transcript: Transcript = Transcript()
    compress: Compress = Compress()
    segment: Segment = Segment()
    extract: Extract = Extract()
    llm: Llm = Llm()
    embed: Embed = Embed()
    store: Store = Store()
    update: Update = Update()
    summarize: Summarize = Summarize()
    retrieve: Retrieve = Retrieve()
    ask: Ask = Ask()
