"""How good predictions are. Pure: predictions and references go in, numbers come out.

BLEU is sacrebleu's (M. Post, "A Call for Clarity in Reporting BLEU Scores", 2018), 0 to 100, of the
whole corpus; ROUGE is rouge-score's F measure (C.-Y. Lin, 2004), 0 to 1, the mean over the
examples, on lower-case words without stemming. Words are letters, their marks and digits of any
script; in ASCII they are rouge-score's own.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu

from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.errors import LossNotFinite

LARGEST_LOSS = 700.0
"""exp of more overflows a float."""
ROUGE = ("rouge1", "rouge2", "rougeL")


class Words:
    """What RougeScorer takes for words; its own tokenizer knows ASCII alone."""

    def tokenize(self, text: str) -> list[str]:
        """The lower-case words in their order."""
        return "".join(c if _in_a_word(c) else " " for c in text.lower()).split()


def _in_a_word(character: str) -> bool:
    """Whether Unicode calls it a letter, a mark or a number."""
    return unicodedata.category(character)[0] in "LMN"


def perplexity(loss_sum: float, count: int) -> float:
    """exp of the mean negative log-likelihood, in nats, of `count` labels.

    Raises LossNotFinite; ConfigurationInvalid without labels.
    """
    if not count:
        raise ConfigurationInvalid(
            "The held-out data has nothing to predict within the sequence length; raise "
            "spec.prepare.split.validationFraction of the dataset, or its sequenceLength."
        )
    mean = loss_sum / count
    if not mean < LARGEST_LOSS:
        raise LossNotFinite(
            f"The mean loss on held-out data is {mean}; lower spec.hyperparameters.learningRate."
        )
    return math.exp(mean)


def classification(predicted: Sequence[int], wanted: Sequence[int]) -> dict[str, float]:
    """Accuracy, and the F1 of each class that is wanted or predicted, averaged (macro F1).

    F1 = 2 TP / (2 TP + FP + FN). Raises ValueError without examples.
    """
    if not wanted:
        raise ValueError("nothing to measure")
    pairs = Counter(zip(predicted, wanted, strict=True))
    said, meant = Counter(predicted), Counter(wanted)
    classes = said.keys() | meant.keys()
    scores = [2 * pairs[one, one] / (said[one] + meant[one]) for one in classes]
    right = sum(count for (one, other), count in pairs.items() if one == other)
    return {"accuracy": right / len(wanted), "f1": sum(scores) / len(scores)}


def generation(predicted: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """BLEU and ROUGE-1, -2 and -L of one text per example, against one reference."""
    scorer = RougeScorer(list(ROUGE), tokenizer=Words())
    scores = [
        scorer.score(reference, text) for text, reference in zip(predicted, wanted, strict=True)
    ]
    rouge = {name: sum(score[name].fmeasure for score in scores) / len(scores) for name in ROUGE}
    return {"bleu": corpus_bleu(list(predicted), [list(wanted)]).score, **rouge}


def most_common(values: Iterable[object]) -> object:
    """The value that occurs most often; of several, the smallest by its text."""
    counts = Counter(values)
    most = max(counts.values())
    return min((value for value, count in counts.items() if count == most), key=str)
