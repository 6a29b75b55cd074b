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
from typing import TYPE_CHECKING, Any

from automatch.arguments import parse
from automatch.errors import AutomatchError, InputError

if TYPE_CHECKING:
    from automatch.reporting.diagnosis import Diagnosis
    from automatch.reporting.style import Style

INTERRUPTED = 130
# What the ending of a file promises where no --format and no --dialect is given.
_FORMAT_OF = {".json": "json", ".md": "markdown", ".py": "python", ".yaml": "yaml", ".yml": "yaml"}
# What stdout answers where it cannot take more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


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
        arguments = parse(sys.argv[1:] if argv is None else argv)
        _refuse_output(arguments)
        code = RUNS[arguments.command](arguments)
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


def _refuse_output(arguments: argparse.Namespace) -> None:
    """Refuse a place where nothing can be written before the work is done.

    Raises:
        InputError: names the file and why.
    """
    output = getattr(arguments, "output", None)
    target = getattr(arguments, "target", None)
    if target is None and (output is None or _is_stdout(output)):
        return
    from automatch.applying.atomic import refuse_no_place, refuse_no_text
    from automatch.applying.paths import path_of

    if target is not None:
        refuse_no_place(path_of(target, "target"))
    elif output is not None:
        refuse_no_text(path_of(output, "output"))


def _diagnose(arguments: argparse.Namespace) -> int:
    from automatch.pipeline import diagnose

    _spare_inputs(arguments, arguments.checkpoint, arguments.model)
    diagnosis = diagnose(arguments.checkpoint, arguments.model, **_comparison(arguments))
    text = _rendered(diagnosis, arguments)
    if arguments.output is not None or not arguments.quiet:
        _spare_inputs(arguments, *diagnosis.checkpoint.files, *diagnosis.model.files)
        _put(text, arguments.output)
    return diagnosis.exit_code


def _rules(arguments: argparse.Namespace) -> int:
    from automatch.pipeline import diagnose, export

    _spare_inputs(arguments, arguments.checkpoint, *[name for name in (arguments.model, arguments.keys) if name])
    dialect = arguments.dialect or _dialect_of(arguments.output)
    if arguments.model is None:
        _refuse_comparison(arguments)
        text = export(arguments.checkpoint, dialect, keys=arguments.keys, at=arguments.at, reverse=arguments.reverse)
        _put(text, arguments.output)
        return 0
    if arguments.keys is not None:
        raise InputError("--keys is for rules from a file; CHECKPOINT has the keys already, so leave it out")
    diagnosis = diagnose(arguments.checkpoint, arguments.model, **_comparison(arguments))
    _spare_inputs(arguments, *diagnosis.checkpoint.files, *diagnosis.model.files)
    _put(export(diagnosis, dialect, reverse=arguments.reverse), arguments.output)
    if diagnosis.exit_code:
        sentence = f"{_shown(diagnosis.verdict).rstrip('.')}; the rules hold what was matched, diagnose has the rest"
        print(f"automatch: {sentence}", file=sys.stderr)
    return diagnosis.exit_code


def _learn(arguments: argparse.Namespace) -> int:
    from automatch.pipeline import learn

    _spare_inputs(arguments, arguments.original, arguments.converted)
    bar = _Bar()
    progress = bar if bar.seen else None
    try:
        diagnosis = learn(
            arguments.original, arguments.converted, at=arguments.at, pin=arguments.pin, progress=progress
        )
    finally:
        bar.clear()
    text = _rendered(diagnosis, arguments)
    if arguments.output is not None or not arguments.quiet:
        _spare_inputs(arguments, *diagnosis.checkpoint.files, *diagnosis.model.files)
        _put(text, arguments.output)
    return diagnosis.exit_code


def _apply(arguments: argparse.Namespace) -> int:
    from automatch.pipeline import convert

    if arguments.keys is not None and not arguments.reverse:
        raise InputError("--keys says what a checkpoint was before; give it with --reverse, or leave it out")
    if arguments.keys is not None:
        from automatch.applying.atomic import refuse_same_file

        refuse_same_file(Path(arguments.keys), Path(arguments.target))
    converted = convert(
        arguments.rules,
        arguments.source,
        arguments.target,
        at=arguments.at,
        ambiguous=arguments.ambiguous,
        reverse=arguments.reverse,
        keys=arguments.keys,
    )
    if not arguments.quiet:
        print(_shown(str(converted)))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from automatch.pipeline import check

    _spare_inputs(arguments, arguments.rules, arguments.checkpoint, arguments.model)
    checked = check(
        arguments.rules,
        arguments.checkpoint,
        arguments.model,
        at=arguments.at,
        model_args=arguments.model_args,
        dead_fails=arguments.no_dead,
    )
    if arguments.output is not None or not arguments.quiet:
        _spare_inputs(arguments, *checked.checkpoint.files, *checked.model.files)
        ending = arguments.output.suffix.lower() if arguments.output else ""
        form = arguments.format or ("json" if ending == ".json" else "text")
        _put(checked.to_json() if form == "json" else checked.text(arguments.full), arguments.output)
    return checked.exit_code


def _keys(arguments: argparse.Namespace) -> int:
    from automatch.pipeline import read_keys
    from automatch.reading import write_key_list

    _spare_inputs(arguments, arguments.source)
    keys = read_keys(arguments.source, at=arguments.at, args=arguments.model_args)
    _spare_inputs(arguments, *keys.files)
    _put(write_key_list(keys), arguments.output)
    if keys.beside:
        place = f"`{keys.at}`" if keys.at else "the top level"
        print(
            _shown(f"automatch: the keys at {place}; also there: {', '.join(keys.beside)}, choose with --at"),
            file=sys.stderr,
        )
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    import json

    from automatch.explaining import explain

    if arguments.file == "-" and sys.stdin.isatty():
        print("automatch: paste the error text, then end it with Ctrl-D", file=sys.stderr)
    explanation = explain(_text_of(arguments.file))
    print(json.dumps(explanation.to_dict(), indent=2) if arguments.format == "json" else _shown(str(explanation)))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from automatch.demo import tell
    from automatch.reporting.style import Style

    return 0 if tell(print, Style(colour=_has_colour())) else 1


RUNS: dict[str, Callable[[argparse.Namespace], int]] = {
    "diagnose": _diagnose,
    "rules": _rules,
    "learn": _learn,
    "apply": _apply,
    "check": _check,
    "keys": _keys,
    "explain": _explain,
    "demo": _demo,
}


class _Bar:
    """A line on stderr that says how far the work is; nothing where stderr is no terminal."""

    WIDTH = 30

    def __init__(self) -> None:
        self.seen = sys.stderr.isatty()
        self._shown = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Draw it anew, where something has changed."""
        share = done / total if total else 1.0
        full = int(share * self.WIDTH)
        text = f"{what} [{'#' * full}{'.' * (self.WIDTH - full)}] {int(share * 100):3d} %"
        if text != self._shown:
            print(f"\r{text:<{len(self._shown)}}", end="", file=sys.stderr, flush=True)
            self._shown = text

    def clear(self) -> None:
        """Leave an empty line."""
        if self._shown:
            print(f"\r{'':<{len(self._shown)}}\r", end="", file=sys.stderr, flush=True)


def _comparison(arguments: argparse.Namespace) -> dict[str, Any]:
    """What decides how two sources are compared."""
    return {name: getattr(arguments, name) for name in ("by", "pin", "forbid", "at", "model_args", "values")}


def _refuse_comparison(arguments: argparse.Namespace) -> None:
    """Rules from a file are compared with nothing.

    Raises:
        InputError: an option says how to compare.
    """
    said = {**_comparison(arguments), "by": arguments.by != "all", "at": arguments.at and not arguments.keys}
    option = next((f"--{name.replace('_', '-')}" for name, value in said.items() if value), None)
    if option is not None:
        raise InputError(f"{option} is for CHECKPOINT and MODEL; {arguments.checkpoint} alone holds finished rules")


def _rendered(diagnosis: Diagnosis, arguments: argparse.Namespace) -> str:
    """A diagnosis in the format that was asked for, or that the name of the file promises; else as a report."""
    from automatch.reporting.formats import FORMATS

    ending = arguments.output.suffix.lower() if arguments.output else ""
    name = arguments.format or _FORMAT_OF.get(ending, FORMATS[0].NAME)
    form = next((form for form in FORMATS if name == form.NAME), None)
    return form.render(diagnosis, _style(arguments)) if form is not None else diagnosis.export(name)


def _dialect_of(output: Path | None) -> str:
    """The dialect that the name of a file promises; JSON where it promises nothing, as that of a screen or a pipe.

    Raises:
        InputError: it promises something else.
    """
    from automatch.exporting.dialects import DIALECTS

    if output is None or not output.suffix or (output.exists() and not output.is_file()):
        return "json"
    dialect = _FORMAT_OF.get(output.suffix.lower())
    if dialect is None or dialect not in {known.NAME for known in DIALECTS}:
        raise InputError(
            f"{output}: {output.suffix} is no ending of a rules file; end it in .json, .yaml, .yml or .py, "
            f"or say which text it gets with --dialect"
        )
    return dialect


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
        read = Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); give the file with the error text") from None
    if b"\0" in read[:4096] and not read.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name}: is no text; give the file with the error text, or automatch {name} MODEL")
    return read.decode("utf-8", "replace")


def _one_line(error: AutomatchError) -> str:
    """The sentence of an error on one line that a terminal can show."""
    return _shown(" ".join(str(error).split()))


def _shown(text: str) -> str:
    """Text line by line, without characters that a terminal would obey."""
    from automatch.reporting.printable import printable

    return "\n".join(map(printable, text.split("\n")))
