"""How many tokens a written row has, and rows that are made to have no more than so many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from hsdc_runtime.making.kept import Columns
from hsdc_runtime.nn.chat import ChatTemplate
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.work import Work
from hsdc_schemas.errors import Exit, fail

Record = Mapping[str, Any]


class Tokens:
    """A tokenizer that counts; leave it, as a context, to end the process that renders its chat template."""

    def __init__(self, work: Work, *, chat: bool) -> None:
        model = work.experiment["model"]
        self._tokenizer = pretrained_tokenizer(work.inputs.model, model["gguf"])
        self._chat: ChatTemplate | None = None
        if chat and not isinstance(self._tokenizer.chat_template, str):
            message = "the model's tokenizer has no chat template"
            raise fail("E447", Exit.SPEC, message, None, "bind a model that is tuned to follow instructions")
        if chat:
            self._chat = ChatTemplate(self._tokenizer.chat_template, self._tokenizer.special_tokens_map)

    def __enter__(self) -> Tokens:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._chat is not None:
            self._chat.__exit__(kind, error, at)

    def of(self, kind: str, records: Sequence[Record], ids: Sequence[str], text: str) -> list[int]:
        """The tokens of each record: a conversation's under the chat template, with the answer; a pair's of both."""
        if not records:
            return []
        if kind == "chat":
            assert self._chat is not None
            asked = self._chat.render([record["messages"][:-1] for record in records], ids)
            texts = [f"{one}{record['messages'][-1]['content']}" for one, record in zip(asked, records, strict=True)]
            return self._lengths(texts)
        if kind == "pairs":
            parts = (self._lengths([record[name] for record in records]) for name in ("prompt", "response"))
            return [asked + answered for asked, answered in zip(*parts, strict=True)]
        return self._lengths([record[text] for record in records])

    def _lengths(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self._tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def without_last(self, text: str, tokens: int) -> str:
        """A text without its last tokens, cut where a token begins."""
        offsets = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text[: offsets[-tokens][0]].rstrip() if tokens < len(offsets) else ""


def shortened(
    row: Columns, place: int, over: Callable[[Columns], int], without_last: Callable[[str, int], str]
) -> Columns | None:
    """A row whose text is cut until nothing is over; None where no text is left to cut."""
    while (more := over(row)) > 0:
        text = without_last(row[place], more)
        if not text:
            return None
        row = (*row[:place], text, *row[place + 1 :])
    return row
