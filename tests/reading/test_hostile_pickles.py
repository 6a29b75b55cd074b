"""Pickles that ask to run code: nothing is imported, nothing is called, and the user is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from automatch.errors import AutomatchError, InputError, UnsafeInputError
from automatch.reading import Limits, read_checkpoint
from tests.reading.hostile import TENSOR, WRITERS, calls, short, text, write_legacy, write_plain, write_zip

EVERY_CALL = pytest.mark.parametrize("way", list(calls("touch x")))
IN_EVERY_FILE = pytest.mark.parametrize("kind", ["zip", "legacy"])
STATE_DICT = b"}" + text("weight") + TENSOR + b"s"


def pickled(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


@pytest.mark.parametrize("kind", list(WRITERS))
@EVERY_CALL
def test_a_call_where_the_state_dict_should_be_is_refused(tmp_path: Path, kind: str, way: str) -> None:
    witness = tmp_path / "witness"
    path = WRITERS[kind](tmp_path / "a.pt", pickled(calls(f"touch {witness}")[way]))
    with pytest.raises(
        UnsafeInputError, match=r"a\.pt: instead of a state_dict it asks to call .*nothing was executed"
    ):
        read_checkpoint(path)
    assert not witness.exists()


@IN_EVERY_FILE
@EVERY_CALL
def test_a_call_beside_the_state_dict_is_named(tmp_path: Path, kind: str, way: str) -> None:
    witness = tmp_path / "witness"
    body = b"}(" + text("state_dict") + STATE_DICT + text("config") + calls(f"touch {witness}")[way] + b"u"
    spec = read_checkpoint(WRITERS[kind](tmp_path / "a.pt", pickled(body)))
    assert (spec.at, spec.keys) == ("state_dict", ("weight",))
    assert any("the pickle names " in note and "nothing of it was imported or executed" in note for note in spec.notes)
    assert not witness.exists()


@IN_EVERY_FILE
@EVERY_CALL
def test_a_call_inside_the_state_dict_is_left_out_and_named(tmp_path: Path, kind: str, way: str) -> None:
    witness = tmp_path / "witness"
    body = b"}(" + text("weight") + TENSOR + text("evil") + calls(f"touch {witness}")[way] + b"u"
    spec = read_checkpoint(WRITERS[kind](tmp_path / "a.pt", pickled(body)))
    assert spec.keys == ("weight",)
    assert "not tensors, left out: evil" in spec.notes
    assert any("nothing of it was imported or executed" in note for note in spec.notes)
    assert not witness.exists()


def test_nothing_is_imported_opened_or_started(tmp_path: Path) -> None:
    """A fresh interpreter reports every import, start of a program, compilation and write while it reads."""
    files = []
    for number, body in enumerate(calls(f"touch {tmp_path / 'witness'}").values()):
        for kind, write in WRITERS.items():
            files.append(str(write(tmp_path / f"{number}.{kind}", pickled(body))))
            whole = b"}(" + text("w") + TENSOR + text("x") + body + b"u"
            files.append(str(write_zip(tmp_path / f"{number}.{kind}.pt", pickled(whole))))
    program = """
import json, sys
from automatch.errors import AutomatchError
from automatch.reading import read_checkpoint
files = json.load(sys.stdin)
read_checkpoint(files[1])
events = []
armed = True
def hook(event, args):
    if armed and (event in ("import", "exec", "compile", "os.system", "os.exec", "os.fork", "os.posix_spawn",
            "subprocess.Popen", "socket.connect", "pickle.find_class", "marshal.loads", "ctypes.dlopen")
            or event == "open" and isinstance(args[1], str) and args[1] != "rb" and args[1] != "r"):
        events.append([event, repr(args)[:200]])
sys.addaudithook(hook)
results = []
for file in files:
    try:
        read_checkpoint(file)
        results.append("read")
    except AutomatchError as error:
        results.append(type(error).__name__)
armed = False
print(json.dumps([events, results, sorted({"torch", "pickle"} & set(sys.modules))]))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(files), capture_output=True, text=True, check=True
    )
    events, results, modules = json.loads(run.stdout)
    assert events == []
    assert set(results) == {"read", "UnsafeInputError"}
    assert modules == []
    assert not (tmp_path / "witness").exists()


FAULTS = {
    "set an item of a number": (b"K\x01K\x02K\x03s", "no dict"),
    "set items of a tuple": (b"K\x01\x85(K\x02K\x03u", "no dict"),
    "set items of a tensor": (TENSOR + b"(K\x02K\x03u", "no dict"),
    "an odd number of items": (b"}(K\x02u", "no dict"),
    "append to a dict": (b"}K\x01a", "no list"),
    "append to a text": (text("x") + b"(K\x01e", "no list"),
    "add to a list": (b"](K\x01\x90", "no set"),
    "state of a number": (b"K\x01}b", "a state is set"),
    "state of a name": (b"cos\nsystem\n}b", "a state is set"),
    "extension registry": (b"\x82\x01", "0x82"),
    "persistent id of protocol 0": (b"Pstorage\n", "0x50"),
    "out of band buffer": (b"\x97", "0x97"),
    "unknown instruction": (b"\xff", "0xff"),
    "persistent id that is no tuple": (text("storage") + b"Q", "no storage"),
    "persistent id of another kind": (b"(" + text("file") + b"NNNNtQ", "no storage"),
    "storage of an unknown type": (
        b"(" + text("storage") + b"cos\nsystem\n" + text("0") + text("cpu") + b"K\x02tQ",
        "no storage type",
    ),
    "unset memo": (b"h\x07", "nothing to work on"),
    "huge unset memo": (b"j\xff\xff\xff\xff", "nothing to work on"),
    "tuple without mark": (b"t", "nothing to work on"),
    "pop without mark": (b"0", "nothing to work on"),
    "stack underflow": (b"R", "nothing to work on"),
    "tuple that lacks values": (b"K\x01\x87", "lacks values"),
    "arguments that are no tuple": (b"cos\nsystem\n]R", "no tuple"),
    "keywords that are no dict": (b"cos\nsystem\n)]\x92", "no dict"),
    "two values left": (b"K\x01K\x02", "before it is complete"),
    "open mark": (b"(K\x01", "before it is complete"),
    "list as a key": (b"}]K\x01s", "a key that cannot be one"),
    "dict as a key": (b"}}K\x01s", "a key that cannot be one"),
    "nested tuple as a key": (b"}K\x01\x85\x85K\x01s", "a key that cannot be one"),
    "enormous number as a key": (b"}\x8a\x14" + b"\x01" * 20 + b"K\x01s", "a key that cannot be one"),
    "name that is no text": (b"K\x01K\x02\x93", "no text"),
    "name that is not UTF-8": (b"c\xff\xfe\nx\n", "nothing to work on"),
    "text longer than the file": (b"X\xff\xff\xff\x7f", "longer than what is left"),
    "bytes longer than the file": (b"\x8e" + b"\xff" * 7 + b"\x7f", "ends too early"),
    "long text of 8 bytes": (b"\x8d" + b"\xff" * 8, "ends too early"),
    "number with too many digits": (b"L" + b"9" * 5000 + b"L\n", "4300"),
    "text without quotes": (b"Sabc\n", "not in quotes"),
    "protocol that does not exist": (b"\x80\x06N", "protocol that does not exist"),
    "frame longer than the file": (b"\x95" + b"\xff" * 8 + b"N", "ends too early"),
    "frame in a frame": (b"\x95\x0a" + bytes(7) + b"\x95\x01" + bytes(7) + b"N", "frame inside a frame"),
    "item that crosses the end of its frame": (
        b"\x95\x08" + bytes(7) + text("abcdef"),
        "longer than what is left",
    ),
    "tensor twice under one key": (b"}(" + 2 * (text("w") + TENSOR) + b"u", "'w' is there twice"),
    "tensor replaced later": (STATE_DICT + text("weight") + b"Ns", "'weight' is there twice"),
    "tensor beyond its storage": (TENSOR.replace(b"K\x00K\x02\x85", b"K\x00K\x03\x85"), "beyond its storage"),
    "offset beyond its storage": (TENSOR.replace(b"K\x00K\x02\x85", b"K\x01K\x02\x85"), "beyond its storage"),
    "negative size": (TENSOR.replace(b"K\x00K\x02\x85", b"K\x00J\xff\xff\xff\xff\x85"), "no whole number"),
    "negative offset": (TENSOR.replace(b"K\x00K\x02\x85", b"J\xff\xff\xff\xffK\x02\x85"), "belong together"),
    "more strides than sizes": (TENSOR.replace(b"K\x01\x85", b"K\x01K\x01\x86"), "belong together"),
    "more dimensions than torch has": (
        TENSOR.replace(b"K\x00K\x02\x85K\x01\x85", b"K\x00" + 2 * (b"(" + b"K\x01" * 65 + b"t")), "has 65 dimensions"
    ),
    "size of 2 to the 70": (
        b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\n\x8a\x0a" + (2**70).to_bytes(10, "little")
        + b"\x85\x89tR",
        "at most 63 bits",
    ),
    "65 dimensions without storage": (
        b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\n(" + b"K\x01" * 65 + b"t\x89tR",
        "has 65 dimensions",
    ),
    "sparse tensor with a negative size": (
        b"ctorch._utils\n_rebuild_sparse_tensor\n(N(N" + TENSOR + b"J\xfb\xff\xff\xff\x85\x89ttR", "no whole number"
    ),
    "array of 65 dimensions": (
        b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01(" + b"K\x01" * 65 + b"tNNNtb", "has 65 dimensions"
    ),
    "dict key of many values": (b"}(" + b"N" * 65 + b"tNs", "a key that cannot be one"),
    "size that is true": (TENSOR.replace(b"K\x00K\x02\x85", b"K\x00\x88\x85"), "no whole number"),
    "storage of the wrong size": (TENSOR.replace(b"K\x02tQ", b"K\x03tQ"), "should have 12 bytes, its record has 8"),
    "storage of 2 to the 62": (TENSOR.replace(b"K\x02tQ", b"\x8a\x08" + bytes(7) + b"\x40tQ"), "should have"),
    "storage with a negative size": (TENSOR.replace(b"K\x02tQ", b"J\xff\xff\xff\xfftQ"), "impossible number"),
    "storage that is not there": (TENSOR.replace(text("0"), text("1")), "'1' has no record"),
    "storage outside": (TENSOR.replace(text("0"), text("../../0")), "has no record"),
    "storage with two types": (
        b"(" + TENSOR + TENSOR.replace(b"FloatStorage", b"IntStorage") + b"l",
        "two types or sizes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(FAULTS))
def test_faults_are_refused_with_the_reason(tmp_path: Path, fault: str) -> None:
    body, reason = FAULTS[fault]
    path = write_zip(tmp_path / "a.pt", pickled(body))
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert reason in message
    assert message.startswith(f"{path}: archive/data.pkl: damaged pickle: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "message"),
    [(b"\xed\xa0\x80", "not valid Unicode"), (b"x" * 5000, "longer than 4096 bytes")],
    ids=["half a character", "long"],
)
def test_keys_that_cannot_be_printed(tmp_path: Path, name: bytes, message: str) -> None:
    body = b"}X" + len(name).to_bytes(4, "little") + name + TENSOR + b"s"
    with pytest.raises(InputError, match=message):
        read_checkpoint(write_zip(tmp_path / "a.pt", pickled(body)))


def test_submodules_that_make_one_key_twice(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(1, 1))
    model._modules["a"] = torch.nn.Sequential(OrderedDict(b=torch.nn.Linear(1, 1)))
    model._modules["a.b"] = torch.nn.Linear(1, 1)
    torch.save(model, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"key 'a\.b\.weight' is there twice"):
        read_checkpoint(tmp_path / "a.pt")


def test_bytes_behind_the_pickle(tmp_path: Path) -> None:
    for write in (write_zip, write_plain):
        with pytest.raises(UnsafeInputError, match=r"\d+ bytes follow the pickle"):
            read_checkpoint(
                write(tmp_path / "a.pt", pickled(STATE_DICT if write is write_zip else b"}") + b"\x80\x02N.")
            )


def test_a_pickle_without_its_end(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ends too early"):
        read_checkpoint(write_zip(tmp_path / "a.pt", b"\x80\x02}"))


def test_containers_that_hold_themselves_are_walked_once(tmp_path: Path) -> None:
    body = b"}q\x01(" + text("self") + b"h\x01" + text("list") + b"]q\x02h\x02a" + text("weight") + TENSOR + b"u"
    spec = read_checkpoint(write_zip(tmp_path / "a.pt", pickled(body)))
    assert spec.keys == ("weight",)


def test_sharing_does_not_multiply(tmp_path: Path) -> None:
    """Sixty lists, each holding the one before twice: 2 to the 60 leaves for whoever walks naively."""
    body = b"]q\x00"
    for _ in range(60):
        body += b"]q\x01(h\x00h\x00eq\x00"
    body = b"(" + body + b"l" + b"q\x02" + b"0}(" + text("state_dict") + STATE_DICT + text("deep") + b"h\x00u"
    assert read_checkpoint(write_zip(tmp_path / "a.pt", pickled(body))).keys == ("weight",)


def test_shared_submodules_do_not_multiply(tmp_path: Path) -> None:
    def module(children: bytes) -> bytes:
        parts = b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + children + b"u"
        return b"ctorch.nn.modules.module\nModule\n)\x81" + parts + b"bq\x00"

    body = module(b"}")
    for _ in range(60):
        body = body + b"0" + module(b"}(" + text("a") + b"h\x00" + text("b") + b"h\x00u")
    with pytest.raises(UnsafeInputError, match="contains itself or too many submodules"):
        read_checkpoint(write_zip(tmp_path / "a.pt", pickled(body)), limits=Limits(tensors=1000))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    body = b"]" * 5000 + b"a" * 4999
    with pytest.raises(UnsafeInputError, match="nested deeper than 1000"):
        read_checkpoint(write_zip(tmp_path / "a.pt", pickled(body)))
    with pytest.raises(InputError, match="nests too deeply"):
        read_checkpoint(write_zip(tmp_path / "a.pt", pickled(b"(" * 5000 + b"N" + b"l" * 5000)))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(opcodes=10_000), "more than 10000 instructions"),
        (Limits(stack=5_000), "more than 5000 values at once"),
        (Limits(memo=5_000), "numbers more than 5000 values"),
        (Limits(pickle_bytes=9_000), "limit of 9000"),
    ],
)
def test_limits(tmp_path: Path, limits: Limits, message: str) -> None:
    path = write_zip(tmp_path / "a.pt", pickled(b"(" + b"N\x94" * 10_000 + b"l"))
    with pytest.raises(UnsafeInputError, match=message):
        read_checkpoint(path, limits=limits)


COPIES = {
    "list": b"cbuiltins\nlist\n",
    "set": b"cbuiltins\nset\n",
    "frozenset": b"cbuiltins\nfrozenset\n",
    "size": b"ctorch\nSize\n",
    "dict": b"ccollections\nOrderedDict\n",
}


@IN_EVERY_FILE
@pytest.mark.parametrize("what", list(COPIES))
def test_copies_are_counted_together(tmp_path: Path, kind: str, what: str) -> None:
    """A few bytes ask for a large list again and again."""
    once = COPIES[what] + b"h\x00\x85R"
    entries = b"".join(b"M" + n.to_bytes(2, "little") + b"N" for n in range(1000))
    large = b"}q\x00(" + entries + b"u0" if what == "dict" else b"]q\x00(" + b"N" * 1000 + b"e0"
    body = large + b"(" + text("few") + b"(" + once * 9 + b"l" + STATE_DICT + b"l"
    assert len(read_checkpoint(WRITERS[kind](tmp_path / "a.pt", pickled(body)), limits=Limits(copied=9_000))) == 1
    many = WRITERS[kind](tmp_path / "b.pt", pickled(large + b"(" + once * 10 + STATE_DICT + b"l"))
    with pytest.raises(InputError, match="limit copied"):
        read_checkpoint(many, limits=Limits(copied=9_000))


def test_a_rebuilt_subclass_cannot_call_itself_without_end(tmp_path: Path) -> None:
    """Each level hands itself to the next as what rebuilds the tensor."""
    rebuild = b"ctorch._tensor\n_rebuild_from_type_v2\n"
    nested = rebuild + b"q\x000h\x00N)\x87q\x010" + b"h\x00Nh\x01\x87q\x010" * 3000
    path = write_zip(tmp_path / "a.pt", pickled(nested + b"(h\x00h\x01R" + STATE_DICT + b"l"))
    assert read_checkpoint(path).keys == ("weight",)


def test_shapes_keep_to_the_limits_of_the_caller(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pt", pickled(b"}" + text("w") + TENSOR.replace(b"K\x00K\x02\x85K\x01\x85",
                     b"K\x00K\x02K\x01\x86K\x01K\x01\x86") + b"s"))  # fmt: skip
    assert read_checkpoint(path).tensors[0].shape == (2, 1)
    with pytest.raises(UnsafeInputError, match=r"'w' has shape .* cannot be true"):
        read_checkpoint(path, limits=Limits(rank=1))


def test_a_legacy_file_that_uses_a_storage_it_does_not_list(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "a.pt", pickled(STATE_DICT))
    path.write_bytes(path.read_bytes().replace(text("0") + b"q\x01a.", b"."))
    with pytest.raises(AutomatchError, match="not those that the tensors use"):
        read_checkpoint(path)


def test_a_legacy_magic_number_made_by_a_call(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "a.pt", pickled(STATE_DICT))
    magic = b"\x80\x02cbuiltins\nint\n\x8a\x0a" + path.read_bytes()[4:14] + b"\x85R."
    path.write_bytes(magic + path.read_bytes()[15:])
    with pytest.raises(InputError, match="not a torch file of a known version"):
        read_checkpoint(path)


def test_names_are_listed_once_and_shortened(tmp_path: Path) -> None:
    many = b"".join(text(f"k{i}") + short("lib") + short(f"Config{i}") + b"\x93)R" for i in range(20))
    path = write_zip(tmp_path / "a.pt", pickled(b"}(" + text("model") + STATE_DICT + many + b"u"))
    (note,) = (note for note in read_checkpoint(path).notes if "pickle names" in note)
    assert "lib.Config0, lib.Config1" in note
    assert "and 12 more" in note
