"""The `ems` command: parse, call, and turn every outcome into an exit status and one line for a person.

Exit status: 0 done, 1 failed while running, 2 unusable arguments, config or input, 3 stopped early and resumable.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ems.arguments import add_config, add_device, memory, positive
from ems.benchmark.arguments import add_benchmarks
from ems.errors import InputError, Interrupted, ToldElsewhere
from ems.experiments.arguments import add_experiment
from ems.torchrun import is_first_rank, world_size

DONE, FAILED, UNUSABLE, STOPPED = 0, 1, 2, 3

Command = Callable[[argparse.Namespace], None]


def _train(arguments: argparse.Namespace) -> None:
    from ems.config import load_config
    from ems.training.trainer import train

    try:
        config = load_config(arguments.config, arguments.set)
    except InputError as error:  # the same one on every rank
        raise error if is_first_rank() else ToldElsewhere("rank 0 says why") from None
    model = train(config, resume=arguments.resume)
    if is_first_rank():
        print(
            f"model in {model} — use it with: python -c \"import ems; print(ems.load({str(model)!r}).encode('Hello'))\""
        )


def _prepare(arguments: argparse.Namespace) -> None:
    from ems.config import load_config
    from ems.data.preparation import prepare_corpus
    from ems.data.reports import report_table
    from ems.data.statistics import corpus_statistics, folder_table, statistics_table

    corpus = prepare_corpus(load_config(arguments.config, arguments.set), progress=True)
    reports = corpus.shards.manifest.reports()
    tables = [report_table(reports), folder_table(reports), statistics_table(corpus_statistics(corpus.shards))]
    print("\n\n".join(table for table in tables if table is not None))
    print(f"prepared corpus in {corpus.shards.folder}")


def _dtype(arguments: argparse.Namespace) -> Any:
    import torch

    return torch.int8 if arguments.int8 else torch.bfloat16 if arguments.bf16 else None


def _encode(arguments: argparse.Namespace) -> None:
    from ems.encode_file import encode_file
    from ems.ranks import joined_ranks
    from ems.shared_encoder import first_with_helpers, load_shared

    with joined_ranks(arguments.device, "start again: rows that are whole are kept") as ranks:

        def encode() -> None:
            rows = encode_file(
                load_shared(arguments.model, arguments.device, _dtype(arguments), ranks),
                arguments.input,
                Path(arguments.output),
                normalize=arguments.normalize,
                batch_size=arguments.batch_size,
            )
            print(f"{rows} vectors in {arguments.output}")

        first_with_helpers(ranks, encode)


def _mine(arguments: argparse.Namespace) -> None:
    from ems.mine_files import mine_files

    report = mine_files(
        arguments.model,
        arguments.source,
        arguments.target,
        arguments.output,
        margin=arguments.margin,
        strategy=arguments.strategy,
        k=arguments.k,
        threshold=arguments.threshold,
        memory=arguments.memory,
        approximate=arguments.approximate,
        source_vectors=arguments.source_vectors,
        target_vectors=arguments.target_vectors,
        batch_size=arguments.batch_size,
        device=arguments.device,
    )
    for name, side in (("source", report.source), ("target", report.target)):
        counts = side.lines
        print(
            f"{name}: {counts.lines} lines, {counts.blank} blank, {counts.duplicates} duplicates, {counts.overlong} "
            f"overlong, {counts.cleaned} cleaned of controls, {side.equal_vectors} with the vector of an earlier one"
        )
    if report.recall is not None:
        print("recall of the approximate search: {:.4f} forward, {:.4f} backward".format(*report.recall))
    print(f"{report.pairs} pairs in {arguments.output}, {report.below_threshold} below the threshold")


def _score_and_compare(arguments: argparse.Namespace, ranks: Any) -> None:
    from ems.eval.comparison import compare
    from ems.eval.results_file import read_results
    from ems.eval.suite import run_suite

    old = None if arguments.compare is None else read_results(arguments.compare)
    results = run_suite(
        arguments.model,
        arguments.data,
        arguments.tasks,
        languages=arguments.languages,
        output=arguments.output,
        strict=arguments.strict,
        batch_size=arguments.batch_size,
        device=arguments.device,
        cache=arguments.cache,
        ranks=ranks,
    )
    print(Path(arguments.output, "results.md").read_text(encoding="utf-8"))
    comparison = None if old is None else compare(old, results, arguments.compare)
    if comparison is not None:
        print(comparison.to_markdown())
    print(f"results in {arguments.output}; report.html there shows them")
    if comparison is not None:
        comparison.check()


def _evaluate(arguments: argparse.Namespace) -> None:
    from ems.ranks import joined_ranks
    from ems.shared_encoder import first_with_helpers

    with joined_ranks(arguments.device, "start again: tasks that were scored are in the output") as ranks:
        first_with_helpers(ranks, lambda: _score_and_compare(arguments, ranks))


def _benchmark(arguments: argparse.Namespace) -> None:
    from ems.benchmark.command import BENCHMARKS

    BENCHMARKS[arguments.what](arguments)


def _experiment(arguments: argparse.Namespace) -> None:
    from ems.experiments.command import run_experiment

    print(
        run_experiment(
            arguments.configs,
            arguments.output,
            seeds=arguments.seeds,
            budgets=arguments.budgets,
            reference=arguments.reference,
            overrides=arguments.set,
            jobs=arguments.jobs,
        ),
        end="",
    )


def _import_authors(arguments: argparse.Namespace) -> None:
    from ems.compat.authors import import_checkpoint

    folder = import_checkpoint(
        arguments.checkpoint,
        arguments.sentencepiece,
        arguments.output,
        num_heads=arguments.num_heads,
        split_punctuation=arguments.split_punctuation,
    )
    print(f"model in {folder}")


def _add_train(parser: argparse.ArgumentParser) -> Command:
    add_config(parser)
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of run.folder")
    return _train


def _add_prepare(parser: argparse.ArgumentParser) -> Command:
    add_config(parser)
    return _prepare


def _add_encode(parser: argparse.ArgumentParser) -> Command:
    parser.add_argument("--model", required=True, metavar="FOLDER", help="model folder")
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="one sentence a line, UTF-8; - is standard input"
    )
    parser.add_argument("--output", required=True, metavar="FILE.npy", help="float32 array, one row a line of input")
    parser.add_argument("--normalize", action="store_true", help="scale every vector to length 1")
    fewer = parser.add_mutually_exclusive_group()
    fewer.add_argument("--int8", action="store_true", help="compute in 8 bits: faster on CPUs with the instructions")
    fewer.add_argument("--bf16", action="store_true", help="compute in bfloat16: for GPUs")
    add_device(parser)
    return _encode


def _add_mine(parser: argparse.ArgumentParser) -> Command:
    parser.add_argument("--model", metavar="FOLDER", help="ems or sentence-transformers folder")
    parser.add_argument("--source", required=True, metavar="FILE", help="one sentence a line, UTF-8; also .gz .xz .zst")
    parser.add_argument("--target", required=True, metavar="FILE", help="likewise, in the other language")
    parser.add_argument("--output", required=True, metavar="FILE.tsv", help="score, source, target; best first")
    parser.add_argument("--margin", default="ratio", metavar="NAME", help="ratio (default), distance or absolute")
    parser.add_argument("--strategy", default="max", metavar="NAME", help="max (default), intersect, fwd or bwd")
    parser.add_argument("--k", type=positive, default=4, metavar="N", help="neighbours a sentence; default: 4")
    parser.add_argument(
        "--threshold", type=float, metavar="X", help="write pairs that score more; default: 0 for max, else all"
    )
    parser.add_argument(
        "--memory",
        type=memory,
        default=2_000_000_000,
        metavar="SIZE",
        help="for the search, beside the model; default: 2G",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="search nearly all neighbours, for millions of sentences without a GPU",
    )
    parser.add_argument(
        "--source-vectors", metavar="FILE.npy", help="one row a line of the source, in place of a model"
    )
    parser.add_argument(
        "--target-vectors", metavar="FILE.npy", help="one row a line of the target, in place of a model"
    )
    add_device(parser)
    return _mine


def _add_evaluate(parser: argparse.ArgumentParser) -> Command:
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        metavar="FOLDER",
        help="ems or sentence-transformers folder; repeatable",
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with the test sets (docs/evaluation.md)")
    parser.add_argument(
        "--tasks",
        action="extend",
        nargs="+",
        metavar="TASK",
        help="default: all whose files are there; a wrong name lists them",
    )
    parser.add_argument(
        "--languages", action="extend", nargs="+", metavar="CODE", help="score these only; default: all of EMS"
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for results.json, results.md, report.html"
    )
    parser.add_argument(
        "--compare",
        metavar="FILE",
        help="old results.json; exit 1 if a score fell by more than its confidence interval",
    )
    parser.add_argument("--strict", action="store_true", help="a missing language file is an error, not a line")
    parser.add_argument("--cache", metavar="DIR", help="keep embeddings there, for the next task on the same text")
    add_device(parser)
    return _evaluate


def _add_benchmark(parser: argparse.ArgumentParser) -> Command:
    add_benchmarks(parser)
    return _benchmark


def _add_experiment(parser: argparse.ArgumentParser) -> Command:
    add_experiment(parser)
    return _experiment


def _add_import_authors(parser: argparse.ArgumentParser) -> Command:
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="checkpoint of the original EMS code")
    parser.add_argument("--sentencepiece", required=True, metavar="FILE", help="the .model it was trained with")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="model folder to write")
    parser.add_argument("--num-heads", type=positive, metavar="N", help="attention heads; default: width / 64")
    parser.add_argument("--split-punctuation", action="store_true", help="set punctuation off by spaces, as Moses does")
    return _import_authors


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], Command]]] = {
    "train": ("train a model from parallel text, and score it", _add_train),
    "prepare": ("train the tokenizer and tokenise the corpus only", _add_prepare),
    "encode": ("turn a file of sentences into an array of vectors", _add_encode),
    "mine": ("find translations between two files of sentences", _add_mine),
    "evaluate": ("score models on test sets, and report", _add_evaluate),
    "benchmark": ("measure speed and memory; one JSON line a case", _add_benchmark),
    "experiment": ("train variants of a configuration over seeds, and compare them", _add_experiment),
    "import-authors": ("turn a checkpoint of the original EMS code into a model folder", _add_import_authors),
}


def _fill_parser(parser: argparse.ArgumentParser, name: str) -> None:
    parser.set_defaults(command=name, run=COMMANDS[name][1](parser))
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _parser(name: str | None) -> argparse.ArgumentParser:
    if name is not None:
        parser = argparse.ArgumentParser(description=COMMANDS[name][0])
        _fill_parser(parser, name)
        return parser
    parser = argparse.ArgumentParser(prog="ems", description=(sys.modules["ems"].__doc__ or "").strip())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, (summary, _) in COMMANDS.items():
        _fill_parser(commands.add_parser(command, help=summary, description=summary), command)
    return parser


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_SHARED = ("train", "encode", "evaluate")


def _check_alone(command: str) -> None:
    """Refuse to do the same work in every process of `torchrun`, into one output."""
    if command not in _SHARED and world_size() > 1:
        message = f"'{command}' does not share its work among the processes of torchrun; start it alone"
        raise InputError(message) if is_first_rank() else ToldElsewhere(message)


def _run(arguments: argparse.Namespace) -> int:
    try:
        _check_alone(arguments.command)
        arguments.run(arguments)
        sys.stdout.flush()
        return DONE
    except BrokenPipeError:
        # The reader of our output left; there is nobody to tell, and Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Exception, KeyboardInterrupt) as error:
        if arguments.debug:
            traceback.print_exc()
        if isinstance(error, (Interrupted, KeyboardInterrupt)):
            alone = "interrupted" if world_size() == 1 else "interrupted; another process may have ended, see above"
            message = _one_line(error) if isinstance(error, Interrupted) else alone
            status = STOPPED
        elif isinstance(error, InputError):
            message, status = _one_line(error), UNUSABLE
        elif isinstance(error, (RuntimeError, OSError, MemoryError)):
            message, status = _one_line(error), FAILED
        else:
            message, status = f"{type(error).__name__}: {_one_line(error)} (--debug shows where)", FAILED
        told = isinstance(error, ToldElsewhere) or (status == STOPPED and not is_first_rank())
        if not told:
            print(f"ems {arguments.command}: {message}", file=sys.stderr)
        return status


def _on_sigterm(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None, *, command: str | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments, None for those of the process.
        command: name of the command; None takes it from the first argument, as `ems` does.

    Returns:
        The exit status.
    """
    arguments = _parser(command).parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("ems").setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    signal.signal(signal.SIGTERM, _on_sigterm)
    return _run(arguments)


if __name__ == "__main__":
    sys.exit(main())
