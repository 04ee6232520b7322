"""From a config to a tokenizer and a tokenised corpus, doing only what is not done yet."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ems.config import Config, FileEntry, LanguageDeclaration
from ems.data.corpus import CorpusFile, FileReport, Rules, find_files, read_pairs
from ems.data.shard_manifest import exclusive
from ems.data.shard_writer import prepare
from ems.data.shards import ShardFolder, open_shards
from ems.errors import InputError
from ems.files import atomic_folder, clear_left_behind
from ems.languages import LANGUAGES, Language, LanguageRegistry
from ems.tokenizer import Tokenizer, balanced_sample

logger = logging.getLogger(__name__)

_SAMPLE_SEED = 0  # not the run's: runs of several seeds share one tokenizer


@dataclass(frozen=True)
class PreparedCorpus:
    """Parallel text that is ready to train on.

    Attributes:
        tokenizer: the one that made the shards.
        shards: the tokenised pairs, memory-mapped.
        registry: the languages of EMS and those that the config declares.
        languages: codes in the order of the language table's rows.
    """

    tokenizer: Tokenizer
    shards: ShardFolder
    registry: LanguageRegistry
    languages: tuple[str, ...]


def registry_of(config: Config) -> LanguageRegistry:
    """Collect the known languages and those that the config declares."""
    declared = [entry for entry in config.corpus.languages or [] if isinstance(entry, LanguageDeclaration)]
    return LANGUAGES.extended(
        Language(d.code, d.name, d.script, iso639_3=d.code, flores=d.code, tatoeba=None, aliases=()) for d in declared
    )


def codes_of(config: Config, registry: LanguageRegistry) -> list[str]:
    """List the languages that a config asks for; empty means all that there are."""
    wanted = config.corpus.languages or []
    try:
        return [registry.resolve(entry if isinstance(entry, str) else entry.code) for entry in wanted]
    except InputError as error:
        raise InputError(f"corpus.languages: {error}; declare another as {{code: xx, name: its name}}") from None


def corpus_files(config: Config, registry: LanguageRegistry) -> list[CorpusFile]:
    """Find the corpus files of a config.

    Raises:
        InputError: a file, a glob's match or a wanted language is missing.
    """
    entries: list[Any] = [
        entry.model_dump(exclude_none=True) if isinstance(entry, FileEntry) else entry for entry in config.corpus.files
    ]
    return find_files(
        entries, Path(config.corpus.folder), registry=registry, languages=codes_of(config, registry) or None
    )


def _sentences(
    files: list[CorpusFile], rules: Rules, registry: LanguageRegistry, reports: list[FileReport]
) -> Iterator[tuple[str, str]]:
    for file, report in zip(files, reports, strict=True):
        for pair in read_pairs(file, rules=rules, registry=registry, report=report):
            yield pair.src_lang, pair.src
            yield pair.tgt_lang, pair.tgt


def _rejections(reports: list[FileReport]) -> str:
    """Say of which file most lines were rejected: text that is too little may be text that cannot be used."""
    worst = max(reports, key=lambda report: report.lines - report.kept)
    lost = worst.lines - worst.kept
    return f"; {worst.name}: {lost:,} of {worst.lines:,} lines were rejected, {worst.reasons()}" if lost else ""


def _request(config: Config, languages: list[str]) -> dict[str, Any]:
    """Say what tokenizer a run asks for; two runs that ask for the same may share one."""
    return {**config.tokenizer.model_dump(mode="json"), "languages": languages}


def _make_tokenizer(config: Config, files: list[CorpusFile], registry: LanguageRegistry) -> Tokenizer:
    wanted = config.tokenizer
    if wanted.model is not None:
        path = Path(wanted.model)
        if not path.exists():
            raise InputError(f"tokenizer.model: {path} does not exist")
        return Tokenizer.load(path) if path.is_dir() else Tokenizer.from_sentencepiece(path)
    logger.info("training a %s tokenizer of %d pieces", wanted.type, wanted.vocab_size)
    reports = [FileReport(file.name) for file in files]
    sentences = balanced_sample(
        _sentences(files, Rules(config.corpus.max_characters), registry, reports),
        size=wanted.sentences,
        sampling_temperature=wanted.sampling_temperature,
        seed=_SAMPLE_SEED,
    )
    try:
        return Tokenizer.train(
            sentences, vocab_size=wanted.vocab_size, type=wanted.type, byte_fallback=wanted.byte_fallback
        )
    except InputError as error:
        raise InputError(f"{error}{_rejections(reports)}") from None


def _tokenizer_of(config: Config, files: list[CorpusFile], registry: LanguageRegistry) -> Tokenizer:
    """Open the tokenizer of the prepared folder, or make and keep one."""
    folder = config.prepared_folder / "tokenizer"
    request = _request(config, sorted({lang for file in files for lang in file.languages or ()}))
    if folder.is_dir():
        try:
            made_for = dict(json.loads((folder / "request.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{folder / 'request.json'} cannot be read: {error}; delete {folder}") from None
        differing = [key for key in request if made_for.get(key) != request[key] and key != "languages"]
        if differing:
            key = differing[0]
            raise InputError(
                f"{folder} holds a tokenizer made with {key} {made_for.get(key)!r}, but the config says "
                f"{request[key]!r}; use another corpus.prepared (or run.folder), or delete {config.prepared_folder}"
            )
        if unseen := sorted(set(request["languages"]) - set(made_for.get("languages", ()))):
            logger.warning(
                "the tokenizer in %s never saw %s: its text falls into small pieces; another corpus.prepared helps",
                folder,
                ", ".join(unseen),
            )
        return Tokenizer.load(folder)
    tokenizer = _make_tokenizer(config, files, registry)
    with atomic_folder(folder) as aside:
        tokenizer.save(aside, max_tokens=config.model.max_tokens)
        (aside / "request.json").write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")
    return tokenizer


def prepare_corpus(config: Config, *, progress: bool = False) -> PreparedCorpus:
    """Train or open the tokenizer, tokenise what is new or changed, and open the shards.

    Args:
        config: reads run.folder, corpus, tokenizer and model.max_tokens.
        progress: show a progress bar.

    Raises:
        InputError: corpus, tokenizer or prepared folder cannot be used.
    """
    registry = registry_of(config)
    files = corpus_files(config, registry)
    folder = config.prepared_folder
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        clear_left_behind(folder, ["tokenizer"])
        tokenizer = _tokenizer_of(config, files, registry)
        prepare(
            files,
            tokenizer,
            folder / "shards",
            registry=registry,
            rules=Rules(config.corpus.max_characters),
            workers=config.corpus.workers,
            progress=progress,
        )
        shards = open_shards(folder / "shards", tokenizer.fingerprint)
    for code in codes_of(config, registry):
        if code not in shards.languages:
            raise InputError(f"corpus.languages: no pair of {code!r} in the corpus files")
    return PreparedCorpus(tokenizer, shards, registry, tuple(shards.languages))
