"""Finds the pieces of a conversation that a question needs: words and vectors, fused, boosted, spread and packed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from lightmem_cli.records import Filter, Hit
from lightmem_cli.retrieve.pack import Candidate, pack
from lightmem_cli.retrieve.question import read_question
from lightmem_cli.retrieve.reads import Reads

if TYPE_CHECKING:
    from lightmem_cli.profiles.settings import Settings
    from lightmem_cli.protocols import Embedder, VectorIndex, Vectors, WordIndex


class Retriever:
    """Answers questions over one memory. Without vectors and an embedder it searches words alone.

    `space` is history's integer for the space that `vectors` and `embedder` share.
    """

    def __init__(
        self,
        reads: Reads,
        *,
        words: WordIndex,
        vectors: VectorIndex | None,
        embedder: Embedder | None,
        space: int | None,
        settings: Settings,
    ) -> None:
        self._reads = reads
        self._words = words
        self._vectors = vectors
        self._embedder = embedder
        self._space = space
        self._strategy = settings.retrieve.strategy
        self._language = settings.store.language

    def retrieve(
        self,
        question: str,
        *,
        where: Filter,
        limit: int | None = None,
        budget_tokens: int | None = None,
        asked_at: datetime | None = None,
    ) -> list[Hit]:
        """The hits for `question` among the entries that pass `where`, best first; [] when nothing fits.

        `asked_at` (aware) resolves "last week". The same memory and question give the same hits, bit for bit.
        """
        from lightmem_cli.retrieve.gather import gather  # numpy costs 0.1 s, and `lightmem --help` reads this module
        from lightmem_cli.retrieve.weigh import weigh

        speakers = self._reads.speakers(where)
        asked = read_question(question, speakers=speakers, asked_at=asked_at, language=self._language)
        query = self._query(question)
        gathered = gather(
            self._reads,
            terms=asked.terms,
            words=None if self._strategy == "vectors" else self._words,
            vectors=self._vectors,
            query=query,
            space=self._space or 0,
            where=where,
        )
        parts = weigh(gathered, asked, query=query)
        admitted = self._reads.admitted(sorted(parts), where)
        found = [Candidate(gathered.entries[id_], parts[id_]) for id_ in sorted(admitted)]
        return pack(found, limit=limit, budget_tokens=budget_tokens)

    def _query(self, question: str) -> Vectors | None:
        """The question's vector, or None where only words are searched."""
        if self._strategy == "words" or self._vectors is None or self._embedder is None or not question.strip():
            return None
        vector: Vectors = self._embedder.embed([question])[0]
        return vector
