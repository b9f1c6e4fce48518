"""How records become what a model reads: token ids, and what it should answer.

Every function is pure: the same record, tokenizer and seed give the same features. A label of
IGNORED is not learned from.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from llmcloud.api.dataset import DatasetType
from llmcloud.api.model import TaskName
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.records import Record

IGNORED = -100
MASKED_FRACTION = 0.15
"""Of these tokens 80 % are masked, 10 % random, 10 % as they are (J. Devlin et al., 2019)."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
)
"""A base model continues text: the contents, one per line, and nothing after the last."""


class Records(Protocol):
    """Records of a dataset in a fixed order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


Features = dict[str, Any]
"""Lists of token ids by the name of the model's argument; `labels` may be a single class."""
Tokenizer = Any


@dataclass(frozen=True)
class Encoder:
    """Encodes the records of one dataset for one task.

    `length_tokens`: longer texts are cut. `labels`: class of every label. `decoder_start`: the
    token with which a decoder begins (seq2seq).
    """

    tokenizer: Tokenizer
    length_tokens: int
    labels: Mapping[str, int]
    decoder_start: int | None = None

    def packed(self, tokens: ArrayLike, seed: Sequence[int]) -> Features:
        """A packed sequence: every token is predicted from those before it."""
        ids = np.asarray(tokens, dtype=np.int64)
        return {"input_ids": ids, "labels": ids}

    def masked(self, tokens: ArrayLike, seed: Sequence[int]) -> Features:
        """A packed sequence with tokens hidden, drawn from `seed`; the hidden are predicted."""
        dice = np.random.Generator(np.random.PCG64(list(seed)))
        ids = np.array(tokens, dtype=np.int64)
        chosen = dice.random(len(ids)) < MASKED_FRACTION
        if not chosen.any():
            chosen[dice.integers(len(ids))] = True
        labels = np.where(chosen, ids, IGNORED)
        fate = dice.random(len(ids))
        ids[chosen & (fate < 0.8)] = self.tokenizer.mask_token_id
        other = dice.integers(len(self.tokenizer), size=len(ids))
        replaced = chosen & (fate >= 0.8) & (fate < 0.9)
        ids[replaced] = other[replaced]
        return {"input_ids": ids, "labels": labels}

    def chat(self, record: Record, seed: Sequence[int]) -> Features:
        """A conversation in the chat template; what the assistant says is learned.

        One that is too long loses its end, or its beginning where else nothing would be learned.
        """
        messages = record["messages"]
        ids: list[int] = []
        labels: list[int] = []
        before = ""
        for count, message in enumerate(messages, start=1):
            text = self.tokenizer.apply_chat_template(messages[:count], tokenize=False)
            if not text.startswith(before):
                raise ConfigurationInvalid(
                    "The chat template writes earlier messages in another way once another "
                    "follows; choose a template that only adds to them."
                )
            new = self._ids(text.removeprefix(before))
            before = text
            ids += new
            labels += new if message["role"] == "assistant" else [IGNORED] * len(new)
        ids.append(self.tokenizer.eos_token_id)
        learned = messages[-1]["role"] == "assistant"
        labels.append(self.tokenizer.eos_token_id if learned else IGNORED)
        first = next((n for n, label in enumerate(labels) if label != IGNORED), 0)
        if first >= self.length_tokens:
            begin = first - self.length_tokens // 2
            ids, labels = ids[begin:], labels[begin:]
        return self._cut(ids, labels)

    def pair(self, record: Record, seed: Sequence[int]) -> Features:
        """The source is read, the target is written."""
        end = [self.tokenizer.eos_token_id]
        source = self._ids(record["source"])[: self.length_tokens - 1] + end
        target = self._ids(record["target"])[: self.length_tokens - 1] + end
        start = [self.decoder_start, *target[:-1]]
        return {"input_ids": source, "decoder_input_ids": start, "labels": target}

    def labeled(self, record: Record, seed: Sequence[int]) -> Features:
        """A text and its class."""
        return {"input_ids": self.framed(record["text"]), "labels": self._class(record["label"])}

    def tagged(self, record: Record, seed: Sequence[int]) -> Features:
        """Words and their classes; a word's first piece stands for the word."""
        words, tags = record["tokens"], record["tags"]
        if len(words) != len(tags):
            raise ConfigurationInvalid(
                f"An example has {len(words)} tokens and {len(tags)} tags; correct the source."
            )
        first, last = self._frame()
        ids, labels = list(first), [IGNORED] * len(first)
        for number, (word, tag) in enumerate(zip(words, tags, strict=True)):
            pieces = self._ids(f" {word}" if number else word)
            ids += pieces
            labels += [self._class(tag), *[IGNORED] * (len(pieces) - 1)] if pieces else []
        features = self._cut(ids, labels, len(last))
        features["input_ids"] += last
        features["labels"] += [IGNORED] * len(last)
        return features

    def framed(self, text: str) -> list[int]:
        """A text between the tokens that mark its begin and end."""
        first, last = self._frame()
        most = self.length_tokens - len(first) - len(last)
        return [*first, *self._ids(text)[:most], *last]

    def _frame(self) -> tuple[list[int], list[int]]:
        """Encoders have cls and sep; others begin with bos and end with the text."""
        first = self.tokenizer.cls_token_id
        if first is None:
            first = self.tokenizer.bos_token_id
        last = self.tokenizer.sep_token_id
        return ([] if first is None else [first]), ([] if last is None else [last])

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _cut(self, ids: list[int], labels: list[int], reserved: int = 0) -> Features:
        most = self.length_tokens - reserved
        return {"input_ids": ids[:most], "labels": labels[:most]}

    def _class(self, label: str | int) -> int:
        """Raises ConfigurationInvalid for a label that the dataset does not declare."""
        number = self.labels.get(label) if isinstance(label, str) else label
        if number is None or not 0 <= number < len(self.labels):
            raise ConfigurationInvalid(
                f"An example has the label {label!r}, which is out of the range of the dataset's "
                f"{len(self.labels)} labels; add it to the dataset's spec.labels, or correct the "
                "source."
            )
        return number


Encode = Callable[[Any, Sequence[int]], Features]


def encode_for(task: TaskName, type_: DatasetType, encoder: Encoder) -> Encode:
    """The function for the records of a dataset of this type. `seed` is for what is random."""
    match task, type_:
        case "causal-lm", "text":
            return encoder.packed
        case "causal-lm", "chat":
            return encoder.chat
        case "masked-lm", "text":
            return encoder.masked
        case "seq2seq", "pairs":
            return encoder.pair
        case "sequence-classification", "labeled":
            return encoder.labeled
        case "token-classification", "tags":
            return encoder.tagged
    raise ConfigurationInvalid(
        f"spec.task {task} cannot learn from a dataset of type {type_}; choose another dataset."
    )
