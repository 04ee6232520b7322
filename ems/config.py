"""The whole configuration schema, and how a YAML file with overrides becomes one frozen `Config`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ems.config_complaints import complaints_of, suggestion
from ems.config_files import merged, read_files, where
from ems.errors import InputError
from ems.strict_yaml import dump_yaml, parse_yaml, short

Probability = Annotated[float, Field(ge=0, lt=1)]
Place = Annotated[str, Field(pattern=r"^[^\x00]+$")]  # a path
MOST_STEPS = 10**9  # that any run takes
SEEDS = 2**32  # there are so many, from 0 on


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RunConfig(_Section):
    """Where a run happens."""

    folder: Place = Field(description="run folder; everything the run writes lies below it")
    seed: int = Field(0, ge=0, lt=SEEDS, description="fixes initialisation, data order, dropout and held-out pairs")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto is bf16 on GPUs that have it, fp16 with a scaler on other GPUs, fp32 on CPU"
    )


class LanguageDeclaration(_Section):
    """A language that `ems.languages` does not know."""

    code: str = Field(pattern=r"^[a-z]{2,8}$", description="code used in file names and this config")
    name: str = Field(min_length=1, description="English name")
    script: str = Field("Latn", description="ISO 15924 script code")


class FileEntry(_Section):
    """One corpus file, or a pair of line-aligned files, that a glob cannot describe."""

    file: str | None = Field(None, description="TSV or JSONL, relative to corpus.folder")
    source: str | None = Field(None, description="source side of two line-aligned files")
    target: str | None = Field(None, description="target side of two line-aligned files")
    languages: tuple[str, str] | None = Field(None, description="source and target language", strict=False)

    @model_validator(mode="after")
    def _one_form(self) -> FileEntry:
        if (self.file is None) == (self.source is None) or (self.source is None) != (self.target is None):
            raise ValueError("give either 'file', or 'source' and 'target' together")
        return self


class CorpusConfig(_Section):
    """Which parallel text a run reads."""

    files: list[str | FileEntry] = Field(
        min_length=1, description="globs relative to corpus.folder, entries, or 'embedded:grammar'"
    )
    folder: Place = Field("data/train", description="where your parallel text lies")
    languages: list[str | LanguageDeclaration] | None = Field(
        None, min_length=1, description="use only pairs of these languages; null uses all that the files hold"
    )
    prepared: Place | None = Field(
        None, description="where tokenizer and tokenised corpus are kept and shared by runs; null is the run folder"
    )
    max_characters: int = Field(2000, ge=1, description="a pair with a longer side is rejected and counted")
    workers: int | None = Field(None, ge=0, description="processes that tokenise; null is one for each core")


class TokenizerConfig(_Section):
    """Which tokenizer a run uses: an existing one, or one trained on its corpus."""

    model: Place | None = Field(None, description="SentencePiece .model or a model folder; null trains one")
    type: Literal["unigram", "bpe"] = Field("unigram", description="kind of tokenizer that is trained")
    vocab_size: int = Field(32000, ge=16, le=2**24, description="pieces, special ones included")
    byte_fallback: bool = Field(True, description="spell characters never seen as bytes instead of unknown")
    sentences: int = Field(1_000_000, ge=1, description="sentences it is trained on, balanced across languages")
    sampling_temperature: float = Field(
        2.0, ge=1, description="share of a language in these sentences ~ n ** (1 / temperature)"
    )


def _token_budget(value: Any) -> Any:
    if value is None or value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"Input should be a whole number from 1 on, 'auto' or null, not {short(value)}")


class BatchingConfig(_Section):
    """How pairs become optimizer steps."""

    pairs: int = Field(128, ge=2, le=2**24, description="pairs in a step, over all ranks")
    max_tokens: Annotated[int | Literal["auto"] | None, BeforeValidator(_token_budget)] = Field(
        None,
        description="tokens in one forward pass on one rank; larger steps are cut, with the same gradients; "
        "auto takes as many as fit into memory",
    )
    sampling_temperature: float = Field(
        2.0, ge=1, description="share of a language pair ~ n ** (1 / temperature); 1 is proportional to size"
    )
    length_window: int = Field(
        1,
        ge=1,
        le=1024,
        description="steps drawn together and dealt by length: harder negatives; the longest may have twice the "
        "tokens of a step drawn by chance; a max_steps that is a multiple gives all lengths the same part; 1 is off",
    )


class ModelConfig(_Section):
    """The shape of the encoder and its heads."""

    architecture: Literal["paper", "modern"] = Field(
        "paper", description="modern: pre-norm, rotary positions, gated feed-forward (ModernBERT)"
    )
    num_layers: int = Field(6, ge=1, description="Transformer layers")
    hidden_size: int = Field(1024, ge=1, le=2**20, description="width of hidden states and of the sentence embedding")
    num_heads: int = Field(16, ge=1, description="attention heads; divides hidden_size")
    feed_forward_size: int = Field(4096, ge=1, description="inner width of the feed-forward block")
    max_tokens: int = Field(120, ge=1, le=2**20, description="longest sentence in tokens; the rest is cut off")
    language_size: int = Field(128, ge=0, description="width of a language embedding; 0 is none")
    projection_size: int = Field(128, ge=0, description="width of a projection; 0 compares sentence embeddings")
    reconstruction_hidden: bool = Field(True, description="hidden layer of the reconstruction head")
    tied_output: bool = Field(False, description="let the reconstruction head write with the token embedding")
    dropout: Probability = Field(0.1, description="on embeddings and residual branches")
    attention_dropout: Probability = Field(0.0, description="on attention weights; not 0 means padded attention")
    head_dropout: Probability = Field(0.0, description="inside the heads")

    @model_validator(mode="after")
    def _tied_output_has_its_width(self) -> ModelConfig:
        if self.tied_output and not self.reconstruction_hidden:
            raise ValueError("tied_output needs reconstruction_hidden, which brings its input to hidden_size")
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelConfig:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide hidden_size {self.hidden_size}; "
                f"change num_heads to a divisor such as {_nearest_divisor(self.hidden_size, self.num_heads)}"
            )
        if self.architecture == "modern" and self.hidden_size // self.num_heads % 2:
            raise ValueError(
                f"num_heads {self.num_heads} makes heads of {self.hidden_size // self.num_heads} values; architecture "
                "'modern' turns pairs of values, so hidden_size / num_heads has to be even"
            )
        return self


def _nearest_divisor(number: int, wanted: int) -> int:
    candidates = range(1, min(number, 1024) + 1)  # no one wants more heads, and this ends whatever the config says
    return min((d for d in candidates if number % d == 0), key=lambda d: (abs(d - wanted), d))


class TeacherConfig(_Section):
    """Vectors of another model, which distillation aims at: what `ems encode` wrote of a file of sentences."""

    sentences: Place = Field(description="text file, one sentence a line")
    vectors: Place = Field(description=".npy, float (lines, size), row i is the vector of line i")


class ObjectiveConfig(_Section):
    """What is minimised."""

    reconstruction_weight: float = Field(1.0, ge=0, description="weight of the XTR loss; 0 leaves it out")
    contrastive_weight: float = Field(2.0, ge=0, description="weight of the contrastive loss; 0 leaves it out")
    temperature: float = Field(0.1, gt=0, description="divisor of the cosine in the contrastive loss")
    margin: float = Field(0.0, ge=0, lt=2, description="taken from the cosine of each pair before it is ranked")
    both_directions: bool = Field(True, description="targets pick their sources, too; false ranks targets only")
    distillation_weight: float = Field(0.0, ge=0, description="weight of the distance to a teacher; 0 leaves it out")
    teacher: TeacherConfig | None = Field(None, description="whose vectors distillation aims at")
    target: Literal["counts", "set"] = Field("counts", description="token distribution that XTR aims at")
    vocabulary: Literal["all", "step"] = Field(
        "all", description="tokens that XTR chooses among: all, or those of the sentences of the step, which is faster"
    )
    mask_duplicates: bool = Field(True, description="pairs that share a sentence are no negatives of each other")
    mask_token: bool = Field(False, description="replace one random token of each pair by the mask token")

    @model_validator(mode="after")
    def _something_to_minimise(self) -> ObjectiveConfig:
        if self.reconstruction_weight == 0 and self.contrastive_weight == 0 and self.distillation_weight == 0:
            raise ValueError(
                "reconstruction_weight, contrastive_weight and distillation_weight are all 0; set one above 0"
            )
        return self

    @model_validator(mode="after")
    def _distillation_has_a_teacher(self) -> ObjectiveConfig:
        if self.distillation_weight and self.teacher is None:
            raise ValueError("distillation_weight is above 0, but objective.teacher names no vectors")
        return self


class TrainingConfig(_Section):
    """The optimisation."""

    max_steps: int = Field(ge=1, le=MOST_STEPS, description="optimizer steps")
    learning_rate: float = Field(1e-3, gt=0, description="peak rate")
    table_learning_rate: float | None = Field(
        None, gt=0, description="muon: peak rate of all that AdamW moves (tables, biases, norms); null is learning_rate"
    )
    warmup_steps: int = Field(1000, ge=0, le=MOST_STEPS, description="steps of linear warm-up")
    schedule: Literal["cosine", "linear", "wsd", "constant"] = Field(
        "cosine", description="decay to 0 at max_steps, but for constant"
    )
    optimizer: Literal["adamw", "adam", "muon"] = Field(
        "adamw", description="adam adds weight decay to the gradient (L2); muon orthogonalises updates of matrices"
    )
    amsgrad: bool = Field(False, description="keep the maximum of the second moment")
    weight_decay: float = Field(0.01, ge=0, description="on matrices; with adam on every weight")
    clip_norm: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null does not clip")
    checkpoint_every_steps: int = Field(1000, ge=1, description="steps between checkpoints")
    validate_every_steps: int = Field(500, ge=1, description="steps between validations")
    spike_factor: float | None = Field(
        None, gt=1, description="a loss so many times the mean of the last 100 steps is a bad step; null judges none so"
    )
    max_skipped_steps: int = Field(
        0, ge=0, description="bad steps (spike, or loss or gradient not finite) left out before one stops the run"
    )
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints kept, beside that of the best validation")
    patience: int | None = Field(None, ge=1, description="stop after so many validations without a better metric")

    @model_validator(mode="after")
    def _tables_have_a_rate_of_their_own_with_muon(self) -> TrainingConfig:
        if self.table_learning_rate is not None and self.optimizer != "muon":
            raise ValueError(f"table_learning_rate is for optimizer 'muon', not {self.optimizer!r}")
        return self

    @model_validator(mode="after")
    def _muon_keeps_no_maximum(self) -> TrainingConfig:
        if self.amsgrad and self.optimizer == "muon":
            raise ValueError("amsgrad is for optimizers 'adam' and 'adamw', not 'muon'")
        return self


class ScoringConfig(_Section):
    """Sets that a model is scored on."""

    sets: list[str] = Field(
        default_factory=list, description="'embedded:grammar', 'tatoeba', 'flores', 'flores-dev'; may be empty"
    )
    folder: Place = Field("data/eval", description="where the test sets lie")

    @model_validator(mode="after")
    def _known_sets(self) -> ScoringConfig:
        known = ("embedded:grammar", "tatoeba", "flores", "flores-dev")
        for name in self.sets:
            if name not in known:
                raise ValueError(f"unknown set {name!r}; {suggestion(name, known)}")
        return self


class ValidationConfig(ScoringConfig):
    """Scores during training, which choose the best model: held-out pairs, and named sets."""

    pairs_per_language_pair: int = Field(200, ge=0, le=10**6, description="most pairs held out of a language pair")
    metric: str = Field("held_out", description="'held_out' or one of validation.sets: its mean picks the model")

    @model_validator(mode="after")
    def _metric_exists(self) -> ValidationConfig:
        if self.metric != "held_out" and self.metric not in self.sets:
            raise ValueError(f"metric {self.metric!r} is not in validation.sets; set metric to 'held_out' or add it")
        if self.metric == "held_out" and self.pairs_per_language_pair < 2:
            raise ValueError("metric 'held_out' needs pairs_per_language_pair of at least 2")
        return self


class Config(_Section):
    """Everything that a run depends on."""

    run: RunConfig
    corpus: CorpusConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    batching: BatchingConfig = BatchingConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig
    validation: ValidationConfig = ValidationConfig()
    evaluation: ScoringConfig = ScoringConfig()

    @model_validator(mode="after")
    def _a_pair_fits(self) -> Config:
        budget, longest = self.batching.max_tokens, 2 * self.model.max_tokens
        if isinstance(budget, int) and budget < longest:
            raise ValueError(
                f"batching.max_tokens {budget} is below a pair of longest sentences, 2 x model.max_tokens = {longest}"
            )
        return self

    @model_validator(mode="after")
    def _something_to_score(self) -> Config:
        if not self.evaluation.sets and self.validation.pairs_per_language_pair < 2:
            raise ValueError(
                "nothing to score the model on: name a set in evaluation.sets, or set "
                "validation.pairs_per_language_pair to 2 or more"
            )
        return self

    @property
    def prepared_folder(self) -> Path:
        """Where the tokenizer and the tokenised corpus of this run lie."""
        return Path(self.corpus.prepared) if self.corpus.prepared is not None else Path(self.run.folder) / "prepared"


def _override(value: dict[str, Any], assignment: str, origin: str) -> dict[str, Any]:
    """Apply one `a.b=c` to a copy of the nested mapping; c is read as YAML."""
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise InputError(f"{origin}: write it as section.key=value")
    path = key.strip().split(".")
    parsed, _ = parse_yaml(text, origin)
    value = section = copy.deepcopy(value)
    for part in path[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise InputError(f"{origin}: {part!r} is a value, not a section")
    section[path[-1]] = parsed
    return value


def load_config(path: Path | str, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a YAML config, apply `section.key=value` overrides in order, and check everything.

    A config may name another one that it extends, `extends: full.yaml`, relative to itself: it then holds only what
    differs.

    Args:
        path: YAML file; keys that are absent keep their default.
        overrides: assignments whose right side is read as YAML, as after `--set` on the command line.

    Returns:
        The frozen, complete configuration.

    Raises:
        InputError: a file cannot be read or is not YAML, a key is unknown, given twice or missing, or a value has the
            wrong type, range or combination. The message names file, line, key and the nearest valid spelling.
    """
    files = read_files(Path(path))
    origins = [f"--set {text if text.isprintable() else repr(text)}" for text in overrides]
    values = [merged(files)]
    for assignment, origin in zip(overrides, origins, strict=True):
        values.append(_override(values[-1], assignment, origin))
    complaints = complaints_of(Config, values[-1])
    if not complaints:
        return Config.model_validate(values[-1])
    place, problem = complaints[0]
    for before, origin in reversed(list(zip(values[:-1], origins, strict=True))):
        if complaints[0] not in complaints_of(Config, before):
            raise InputError(f"{origin}: {problem}")
    raise InputError(f"{where(files, place)}: {problem}")


def with_max_tokens(config: Config, max_tokens: int | Literal["auto"] | None) -> Config:
    """Return the configuration with another `batching.max_tokens`."""
    return config.model_copy(update={"batching": config.batching.model_copy(update={"max_tokens": max_tokens})})


def dump_config(config: Config) -> str:
    """Write a configuration as YAML that `load_config` reads back to an equal one."""
    return dump_yaml(config.model_dump(mode="json"))
