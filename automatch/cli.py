"""The command line: arguments in, one call of the pipeline, text and an exit code out. The only file that prints.

Exit codes: 0 it fits, as it is or completely by the rules; 1 something is left; 2 it could not be run.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from automatch.errors import AutomatchError, InputError

if TYPE_CHECKING:
    from automatch.reporting.style import Style

INTERRUPTED = 130
# Options of commands with sources that take the next word.
ONE_VALUE = ("--by", "--pin", "--forbid", "--at", "--format", "-o", "--output")
# What stdout answers where it cannot take more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
DESCRIPTION = "Finds out why a PyTorch state_dict does not fit, and the regex rules that make it fit."
EXAMPLES = """\
examples:
  automatch checkpoint.pth torchvision.models:densenet121          what is wrong, and the rules
  automatch diagnose old.safetensors model.py:build --format json -o rules.json
  automatch apply rules.json old.safetensors new.safetensors       the file under its new names
  automatch explain < error.txt                                    from torch's error text alone

A checkpoint is a file of torch.save, a safetensors file, a sharded index, a folder, or a *.keys.json (see keys).
A model is any of these, or package.module:factory or path/file.py:factory; a factory's code is run.

exit codes: 0 fits as it is or completely by the rules; 1 something is left; 2 could not run
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; those of the process if None.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a screen without Unicode is no reason to fail
    try:
        words = _with_command(sys.argv[1:] if argv is None else argv)
        arguments = _parser(words[0]).parse_args(words)
        run: Callable[[argparse.Namespace], int] = arguments.run
        code = run(arguments)
        sys.stdout.flush()
    except AutomatchError as error:
        print(f"automatch: {_one_line(error)}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        _close_stdout()  # the reader (head, less) has seen enough
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        _close_stdout()
        print(f"automatch: the output cannot be written ({error.strerror}); make room, or use -o FILE", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("automatch: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    return code


def _with_command(argv: Sequence[str]) -> list[str]:
    """The arguments, with `diagnose` before those that name no command."""
    first = argv[0] if argv else "--help"
    if first in ("-h", "--help", "--version"):
        return [first, *argv[1:]]
    command, rest = (first, argv[1:]) if first in COMMANDS else ("diagnose", argv)
    return [command, *_with_sources_first(rest, {"diagnose": 2, "keys": 1}.get(command, 0))]


def _with_sources_first(argv: Sequence[str], wanted: int) -> list[str]:
    """The arguments in an order in which `--model-args`, which takes all that follows, leaves the sources alone.

    Args:
        argv: arguments of a command.
        wanted: how many sources it takes; those that stand nowhere else are the last words after `--model-args`.
    """
    sources: list[str] = []
    factory_args: list[str] = []
    others: list[str] = []
    words = iter(argv)
    inside = False
    for word in words:
        if word.startswith("-") and len(word) > 1:
            inside = word == "--model-args"
            others += [] if inside else [word]
            if word in ONE_VALUE:
                others += [value for value in [next(words, None)] if value is not None]
        else:
            (factory_args if inside else sources).append(word)
    if not factory_args:
        return list(argv)
    missing = max(0, wanted - len(sources))
    cut = len(factory_args) - missing
    return [*others, *sources, *factory_args[cut:], *(["--model-args", *factory_args[:cut]] if cut > 0 else [])]


def _parser(called: str) -> argparse.ArgumentParser:
    """The parser of all commands; only the called one knows its arguments, since some have to be looked up."""
    from automatch import __version__

    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("automatch", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"automatch {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (run, add_arguments, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == called:
            add_arguments(command)
        command.set_defaults(run=run)
    return parser


def _diagnose_arguments(parser: argparse.ArgumentParser) -> None:
    from automatch.exporting.dialects import DIALECTS
    from automatch.reporting.formats import FORMATS

    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="what you have: a file, an index, a folder")
    parser.add_argument("model", metavar="MODEL", help="what you want: package.module:factory, file.py:factory, a file")
    parser.add_argument(
        "--by",
        choices=("all", "name", "topology"),
        default="all",
        help="evidence: names alone, shapes and order alone, or all there is (default)",
    )
    pair = "KEY=KEY"
    parser.add_argument(
        "--pin",
        metavar=pair,
        action="append",
        default=[],
        type=_pair,
        help="a pair you are sure of, CHECKPOINT_KEY=MODEL_KEY, regexes allowed; may be repeated",
    )
    parser.add_argument(
        "--forbid",
        metavar=pair,
        action="append",
        default=[],
        type=_pair,
        help="a pair that must not be; may be repeated",
    )
    parser.add_argument("--at", metavar="A.B", help="where the state_dict stands inside a nested checkpoint")
    _factory_argument(parser)
    forms = [*(form.NAME for form in FORMATS), *(dialect.NAME for dialect in DIALECTS)]
    parser.add_argument("--format", choices=forms, default=forms[0], help=f"default: {forms[0]}")
    parser.add_argument("--full", action="store_true", help="every key on its own line")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors; the exit code tells")
    _output_argument(parser)


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rules", metavar="RULES", help="the JSON of diagnose, or its list of rules alone")
    parser.add_argument("source", metavar="IN", help="a safetensors file or a file of torch.save")
    parser.add_argument("target", metavar="OUT", help="the new file, in the same format")
    parser.add_argument("--at", metavar="A.B", help="where the state_dict stands inside a nested checkpoint")
    parser.add_argument("--ambiguous", action="store_true", help="write ambiguous keys too, where the guess puts them")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _keys_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FILE", help="a checkpoint or a model, as for diagnose")
    parser.add_argument("--at", metavar="A.B", help="where the state_dict stands inside a nested checkpoint")
    _factory_argument(parser)
    _output_argument(parser)


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="the error text; - or nothing for stdin")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    """The demonstration takes none."""


def _factory_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-args",
        metavar="ARG",
        action="extend",
        nargs="+",
        default=[],
        help="arguments for the factory: value or name=value",
    )


def _output_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="write there instead of printing; - is stdout"
    )


def _pair(text: str) -> tuple[str, str]:
    """A pin as argparse wants it."""
    from automatch.matching.pins import split_pair

    try:
        return split_pair(text, "pair")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("pair: ")) from None


def _diagnose(arguments: argparse.Namespace) -> int:
    from automatch.exporting.dialects import DIALECTS
    from automatch.pipeline import diagnose
    from automatch.reporting.formats import FORMATS

    _spare_inputs(arguments, arguments.checkpoint, arguments.model)
    diagnosis = diagnose(
        arguments.checkpoint,
        arguments.model,
        by=arguments.by,
        pin=arguments.pin,
        forbid=arguments.forbid,
        at=arguments.at,
        model_args=arguments.model_args,
    )
    dialect = next((dialect for dialect in DIALECTS if arguments.format == dialect.NAME), None)
    if dialect is not None:
        text = dialect.render(diagnosis.rules)
    else:
        form = next(form for form in FORMATS if arguments.format == form.NAME)
        text = form.render(diagnosis, _style(arguments))
    if arguments.output is not None or not arguments.quiet:
        _spare_inputs(arguments, *diagnosis.checkpoint.files, *diagnosis.model.files)
        _put(text, arguments.output)
    return diagnosis.exit_code


def _apply(arguments: argparse.Namespace) -> int:
    from automatch.pipeline import convert

    converted = convert(
        arguments.rules, arguments.source, arguments.target, at=arguments.at, ambiguous=arguments.ambiguous
    )
    if not arguments.quiet:
        print(_shown(str(converted)))
    return 0


def _keys(arguments: argparse.Namespace) -> int:
    from automatch.pipeline import read_keys
    from automatch.reading import write_key_list

    _spare_inputs(arguments, arguments.source)
    keys = read_keys(arguments.source, at=arguments.at, args=arguments.model_args)
    _spare_inputs(arguments, *keys.files)
    _put(write_key_list(keys), arguments.output)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    import json

    from automatch.explaining import explain

    explanation = explain(_text_of(arguments.file))
    print(json.dumps(explanation.to_dict(), indent=2) if arguments.format == "json" else _shown(str(explanation)))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from automatch.demo import tell
    from automatch.reporting.style import Style

    return 0 if tell(print, Style(colour=_has_colour())) else 1


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], Callable[[argparse.ArgumentParser], None], str]] = {
    "diagnose": (_diagnose, _diagnose_arguments, "compare a checkpoint with a model: what fits, what is left, rules"),
    "apply": (_apply, _apply_arguments, "rename the keys of a checkpoint file by rules"),
    "keys": (_keys, _keys_arguments, "print keys, shapes and dtypes, small enough for a bug report"),
    "explain": (_explain, _explain_arguments, "say what happened from torch's own error text"),
    "demo": (_demo, _demo_arguments, "tell the whole story on an old DenseNet checkpoint made here"),
}


def _style(arguments: argparse.Namespace) -> Style:
    """How the report is drawn: colour and width are those of the terminal, if there is one."""
    import shutil

    from automatch.reporting.style import Style

    here = _is_stdout(arguments.output) and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if here else None
    return Style(full=arguments.full, colour=here and _has_colour(), width=width)


def _has_colour() -> bool:
    """Whether stdout shows colours and the user wants them (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _put(text: str, output: Path | None) -> None:
    """Print the text, or write it to a file that appears whole or not at all."""
    text = text if text.endswith("\n") else f"{text}\n"
    if output is None or _is_stdout(output):
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            _close_stdout()  # the exit code still tells what was found
    else:
        from automatch.applying.atomic import write_text

        write_text(output, text)


def _is_stdout(output: Path | None) -> bool:
    """Whether the text goes to stdout: no file is named, or `-`."""
    return output is None or str(output) == "-"


def _spare_inputs(arguments: argparse.Namespace, *sources: str) -> None:
    """Refuse an output that is one of the inputs, by whatever name; a factory's file is one.

    Raises:
        InputError: it is.
    """
    if _is_stdout(arguments.output):
        return
    from automatch.applying.atomic import refuse_same_file

    for source in sources:
        for name in (source, source.partition("(")[0].rpartition(":")[0]):
            if name:
                refuse_same_file(Path(name), arguments.output)


def _close_stdout() -> None:
    """Nothing more can be said there, and Python must not try to at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text_of(name: str) -> str:
    """The text of a file, or of stdin; bytes that are no text become question marks.

    Raises:
        InputError: the file cannot be read.
    """
    if name == "-":
        return sys.stdin.buffer.read().decode("utf-8", "replace")
    try:
        return Path(name).read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); give the file with the error text") from None


def _one_line(error: AutomatchError) -> str:
    """The sentence of an error on one line that a terminal can show."""
    return _shown(" ".join(str(error).split()))


def _shown(text: str) -> str:
    """Text line by line, without characters that a terminal would obey."""
    from automatch.reporting.printable import printable

    return "\n".join(map(printable, text.split("\n")))
