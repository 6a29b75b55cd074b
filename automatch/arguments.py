"""What may be typed: the commands, their arguments and options, in any order that a person types them."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from automatch.errors import InputError

# `-1` is a number, `-` is stdin or stdout.
OPTION = re.compile(r"-[^\d.]")
# Options of commands with sources that take the next word.
ONE_VALUE = ("--by", "--pin", "--forbid", "--at", "--format", "--dialect", "--keys", "-o", "--output")
PAIR = "KEY=KEY"
DESCRIPTION = "Finds out why a PyTorch state_dict does not fit, and the regex rules that make it fit."
EXAMPLES = """\
examples:
  automatch checkpoint.pth torchvision.models:densenet121          what is wrong, and the rules
  automatch diagnose old.safetensors model.py:build --format json -o rules.json
  automatch rules old.safetensors model.py:build --dialect hook    the rules for where you keep them
  automatch apply rules.json old.safetensors new.safetensors       the file under its new names
  automatch explain < error.txt                                    from torch's error text alone

A checkpoint is a file of torch.save, a safetensors file, a sharded index, a folder, or a *.keys.json (see keys).
A model is any of these, or package.module:factory or path/file.py:factory; a factory's code is run.

exit codes: 0 fits as it is or completely by the rules; 1 something is left; 2 could not run
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read a command line.

    Args:
        argv: arguments without the program's name; where they name no command, `diagnose` is meant.

    Returns:
        The command's name under `command`, and its arguments.

    Raises:
        SystemExit: help or the version was asked for, and printed.
        InputError: the arguments are wrong.
    """
    words = _with_command(argv)
    parser, command = _parser(words[0])
    found, odd = parser.parse_known_args(words)
    if odd:
        raise InputError(_not_taken(command or parser, odd))
    return found


def _not_taken(command: argparse.ArgumentParser, odd: Sequence[str]) -> str:
    """The sentence about arguments that a command does not know."""
    known = re.findall(r"--[a-z-]+", command.format_help())
    near = difflib.get_close_matches(odd[0], known, n=1) if OPTION.match(odd[0]) else []
    hint = f"did you mean {near[0]}?" if near else f"`{command.prog} --help` shows what it takes"
    return f"`{command.prog}` does not take {' '.join(map(repr, odd))}; {hint}"


def _with_command(argv: Sequence[str]) -> list[str]:
    """The arguments, with `diagnose` before those that name no command."""
    first = argv[0] if argv else "--help"
    if first in ("-h", "--help", "--version"):
        return [first, *argv[1:]]
    if first not in COMMANDS:
        _refuse_no_command(first, alone=len(argv) == 1)
    command, rest = (first, argv[1:]) if first in COMMANDS else ("diagnose", argv)
    return [command, *_with_sources_first(rest, {"diagnose": 2, "rules": 2, "check": 3, "keys": 1}.get(command, 0))]


def _refuse_no_command(word: str, alone: bool) -> None:
    """Refuse a word that is meant as a command: nearly one, or the only word there is, and no file.

    Raises:
        InputError: names the command that is meant, or all.
    """
    if not word.isalpha() or Path(word).exists():
        return
    if word in _IN_PYTHON:
        raise InputError(f"there is no `automatch {word}`; {_IN_PYTHON[word]}")
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    if near or alone:
        hint = f"did you mean `automatch {near[0]}`?" if near else f"the commands are {', '.join(COMMANDS)}"
        raise InputError(f"{word!r} is neither a command nor a file; {hint}")


_IN_PYTHON = {
    "load": "in Python, automatch.load(model, CHECKPOINT) loads; here, `automatch rules` and `automatch apply` write a "
    "file that fits",
    "convert": "`automatch apply RULES IN OUT` writes the converted file",
}
"""What Python has under a name that is no command, and what does it on the command line."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print below all that may be typed."""
        text = message.removeprefix("argument ").replace("the following arguments are required: ", "give ")
        raise InputError(f"{text}; `{self.prog} --help` shows what may be given")


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
        if OPTION.match(word):
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


def _parser(called: str) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None]:
    """The parser of all commands, and that of the called one.

    Only the called one knows its arguments, since some have to be looked up.
    """
    from automatch import __version__

    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser("automatch", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"automatch {__version__}")
    chosen = None
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (add_arguments, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=raw)
        command.set_defaults(command=name)
        if name == called:
            add_arguments(command)
            chosen = command
    return parser, chosen


def _diagnose_arguments(parser: argparse.ArgumentParser) -> None:
    from automatch.reporting.formats import FORMATS

    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="what you have: a file, an index, a folder")
    parser.add_argument("model", metavar="MODEL", help="what you want: package.module:factory, file.py:factory, a file")
    _comparison_arguments(parser)
    forms = [*(form.NAME for form in FORMATS), "yaml"]
    parser.add_argument(
        "--format", choices=forms, help=f"default: by the ending of FILE (.json, .md, .py, .yaml), else {forms[0]}"
    )
    parser.add_argument("--full", action="store_true", help="every key on its own line")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors; the exit code tells")
    _output_argument(parser)


def _rules_arguments(parser: argparse.ArgumentParser) -> None:
    from automatch.exporting.dialects import DIALECTS
    from automatch.exporting.export import descriptions

    names = [dialect.NAME for dialect in DIALECTS]
    parser.usage = f"%(prog)s CHECKPOINT MODEL [options]\n       {parser.prog} RULES [--keys CHECKPOINT] [options]"
    parser.epilog = f"dialects:\n{descriptions()}"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="what you have; or, alone, a rules file")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="what you want, as for diagnose")
    # argparse's way to print something and stop
    parser.add_argument("--list", action="version", version=descriptions(), help="the dialects, with a line each")
    parser.add_argument(
        "--dialect",
        choices=names,
        metavar="NAME",
        help=f"one of {', '.join(names)}; default: by the ending of FILE (.json, .yaml, .py), else json",
    )
    parser.add_argument("--keys", metavar="CHECKPOINT", help="with a rules file: the checkpoint to replay them on")
    parser.add_argument("--reverse", action="store_true", help="write the rules that lead back, from MODEL's keys")
    _comparison_arguments(parser)
    _output_argument(parser)


def _learn_arguments(parser: argparse.ArgumentParser) -> None:
    from automatch.reporting.formats import FORMATS

    parser.add_argument("original", metavar="ORIGINAL", help="the checkpoint before the conversion")
    parser.add_argument("converted", metavar="CONVERTED", help="the same checkpoint after it; it may have been cast")
    parser.add_argument("--at", metavar="A.B", help="where the state_dict stands inside a nested ORIGINAL")
    _pin_argument(parser)
    forms = [*(form.NAME for form in FORMATS), "yaml"]
    parser.add_argument(
        "--format",
        choices=forms,
        help=f"default: by the ending of FILE (.json, .yaml: the rules for apply, .md, .py), else {forms[0]}",
    )
    parser.add_argument("--full", action="store_true", help="every key on its own line")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors; the exit code tells")
    _output_argument(parser)


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rules", metavar="RULES", help="the JSON of diagnose, or rules as JSON or YAML")
    parser.add_argument("source", metavar="IN", help="a safetensors file or a file of torch.save")
    parser.add_argument("target", metavar="OUT", help="the new file, in the same format")
    parser.add_argument("--at", metavar="A.B", help="where the state_dict stands inside a nested checkpoint")
    parser.add_argument("--ambiguous", action="store_true", help="write ambiguous keys too, where the guess puts them")
    parser.add_argument("--reverse", action="store_true", help="go back: IN has model keys, OUT gets the checkpoint's")
    parser.add_argument(
        "--keys", metavar="OLD", help="for --reverse with rules alone: the checkpoint as it was, or a key list of it"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rules", metavar="RULES", help="the JSON of diagnose, or rules as JSON or YAML, edited or not")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the old keys: a checkpoint or a key list")
    parser.add_argument("model", metavar="MODEL", help="the new ones: package.module:factory, file.py:factory, a file")
    parser.add_argument("--at", metavar="A.B", help="where the state_dict stands inside a nested checkpoint")
    _factory_argument(parser)
    parser.add_argument("--no-dead", action="store_true", help="a rule that takes no key is a failure as well")
    parser.add_argument("--format", choices=("text", "json"), help="default: by the ending of FILE (.json), else text")
    parser.add_argument("--full", action="store_true", help="every key on its own line")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors; the exit code tells")
    _output_argument(parser)


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


def _comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """What decides how two sources are compared."""
    parser.add_argument(
        "--by",
        choices=("all", "name", "topology"),
        default="all",
        help="evidence: names alone, shapes and order alone, or all there is (default)",
    )
    _pin_argument(parser)
    parser.add_argument(
        "--forbid",
        metavar=PAIR,
        action="append",
        default=[],
        type=_pair,
        help="a pair that must not be; may be repeated",
    )
    parser.add_argument("--at", metavar="A.B", help="where the state_dict stands inside a nested checkpoint")
    parser.add_argument("--values", action="store_true", help="hold ambiguous matches against values, too")
    _factory_argument(parser)


def _pin_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pin",
        metavar=PAIR,
        action="append",
        default=[],
        type=_pair,
        help="a pair you are sure of, CHECKPOINT_KEY=MODEL_KEY, regexes allowed; may be repeated",
    )


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
    from automatch.matching.basis.pins import split_pair

    try:
        return split_pair(text, "pair")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("pair: ")) from None


COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str]] = {
    "diagnose": (_diagnose_arguments, "compare a checkpoint with a model: what fits, what is left, rules"),
    "rules": (_rules_arguments, "write the rules in the dialect of the library that shall rename"),
    "learn": (_learn_arguments, "find the rules of a conversion by the values of a checkpoint before and after it"),
    "apply": (_apply_arguments, "rename the keys of a checkpoint file by rules"),
    "check": (_check_arguments, "hold rules against a checkpoint and a model, for CI"),
    "keys": (_keys_arguments, "print keys, shapes and dtypes, small enough for a bug report"),
    "explain": (_explain_arguments, "say what happened from torch's own error text"),
    "demo": (_demo_arguments, "tell the whole story on an old DenseNet checkpoint made here"),
}
