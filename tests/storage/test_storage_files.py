import errno
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from claude_batch_dagster.core.sending.chunks import OpenRow
from claude_batch_dagster.errors import SpoolError, StateDirectoryError
from claude_batch_dagster.storage.files.outbox import Outbox
from claude_batch_dagster.storage.files.spool import FileSpool
from claude_batch_dagster.storage.files.state_directory import StateDirectory

HOSTILE = ["../x", "/etc/passwd", "a/../../b", "", ".", "..", "a\nb", "a" * 300, "é" * 200, "x'; --", "CON", "a\x00b"]


def files(folder: Path) -> list[Path]:
    """Return every file below a folder, but for the one that says to git that there is none."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore"]


@pytest.fixture
def spool(state: StateDirectory) -> FileSpool:
    """Return the spool of a state directory."""
    return FileSpool(state.spool)


# --- spool -----------------------------------------------------------------------------------------


def test_results_come_back_as_they_were_written(spool: FileSpool) -> None:
    """Pieces of any size make the same lines."""
    spool.write("batch", [b'{"a"', b':1}\n{"b":2}', b"", b"\n"])

    assert (list(spool.lines("batch")), spool.has("batch")) == ([b'{"a":1}', b'{"b":2}'], True)


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        pytest.param(b"", [], id="F69-empty"),
        pytest.param(b"{1}\n{2}", [b"{1}", b"{2}"], id="F75-no-final-newline"),
        pytest.param(b"{1}\r\n{2}\r\n", [b"{1}", b"{2}"], id="F75-crlf"),
        pytest.param(b"\n\n{1}\n \t\n\r\n{2}\n\n", [b"{1}", b"{2}"], id="F75-blank"),
        pytest.param(b"\xef\xbb\xbf{1}\n", [b"{1}"], id="F75-bom"),
        pytest.param('{"a":"\u2028\u0085\x0b"}\n'.encode(), ['{"a":"\u2028\u0085\x0b"}'.encode()], id="F75-separators"),
    ],
)
def test_line_ends_are_no_part_of_a_result(spool: FileSpool, raw: bytes, lines: list[bytes]) -> None:
    """Blank lines, carriage returns and a byte order mark are passed over; only a newline ends a line."""
    spool.write("batch", [raw])

    assert list(spool.lines("batch")) == lines


def test_f78_results_are_absent_until_they_are_whole(spool: FileSpool) -> None:
    """A download that breaks off leaves nothing behind that could be read."""

    def broken() -> Iterator[bytes]:
        yield b"{1}\n"
        assert not spool.has("batch")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        spool.write("batch", broken())
    assert (spool.has("batch"), files(spool.folder)) == (False, [])


def test_f70_a_broken_second_download_leaves_the_first(spool: FileSpool) -> None:
    """What is on disk is replaced as a whole or not at all."""

    def broken() -> Iterator[bytes]:
        yield b"{2}\n"
        raise ConnectionError

    spool.write("batch", [b"{1}\n"])
    with pytest.raises(ConnectionError):
        spool.write("batch", broken())

    assert list(spool.lines("batch")) == [b"{1}"]


def test_results_are_on_disk_before_they_have_their_name(spool: FileSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced under another name, renamed, and then its folder is synced."""
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        steps.append(
            "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"file of {os.fstat(descriptor).st_size}"
        )
        real_sync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        steps.append("name")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    spool.write("batch", [b"{1}\n"])

    assert steps == ["file of 4", "name", "folder"]


def test_f87_a_full_disk_is_told_with_what_to_do(spool: FileSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results stay at the API, so nothing is lost; the message says so."""
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    with pytest.raises(SpoolError, match=r"No space left on device.*Nothing that was paid for is lost"):
        spool.write("batch", [b"{1}"])

    assert not spool.has("batch")


def test_discarded_results_are_gone(spool: FileSpool) -> None:
    """Discarding twice is no trouble."""
    spool.write("batch", [b"{1}\n"])

    spool.discard("batch")
    spool.discard("batch")

    assert not spool.has("batch")


@pytest.mark.parametrize("batch_id", HOSTILE)
def test_f118_no_batch_id_leads_out_of_the_folder(state: StateDirectory, spool: FileSpool, batch_id: str) -> None:
    """An id of any shape names one file in the folder."""
    spool.write(batch_id, [b"{1}\n"])

    assert [path.parent for path in files(state.path.parent)] == [spool.folder]
    assert (list(spool.lines(batch_id)), spool.has("other")) == ([b"{1}"], False)


def test_f118_ids_that_differ_in_odd_characters_have_files_of_their_own(spool: FileSpool) -> None:
    """No id reads the results of another."""
    names = ["a-b", "a.b", "a/b", "a b", *HOSTILE]
    for name in names:
        spool.write(name, [name.encode() or b"empty"])

    assert len(files(spool.folder)) == len(names)


# --- outbox ----------------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.text(),
            st.text(),
            st.text().map(lambda text: f'{{"text":"{text.encode("unicode_escape").hex()}"}}'.encode()),
        )
    )
)
@example(rows=[("p\nq", '"k"', b"{}"), (None, "1", b'{"a":"\\n"}')])
def test_what_goes_into_the_outbox_comes_out_each_time(
    tmp_path: Path, rows: list[tuple[str | None, str, bytes]]
) -> None:
    """Rows are read as they were put in, in order, as often as they are wanted."""
    asking = [OpenRow(partition, key, "hash", params) for partition, key, params in rows]
    outbox = Outbox(tmp_path / "outbox.jsonl")
    with outbox:
        for some in (asking[:2], asking[2:]):
            columns = (tuple(getattr(row, name) for row in some) for name in OpenRow._fields[:4])
            outbox.add(*columns)

    read = (list(outbox), list(outbox), outbox.n_requests - len(rows))
    outbox.remove()

    assert read == (asking, asking, 0)
    assert list(outbox) == []


def test_f120_the_outbox_takes_nothing_once_closed_and_is_removed_with_its_documents(state: StateDirectory) -> None:
    """Documents do not outlive the run."""
    path = state.outbox("run")
    with Outbox(path) as outbox:
        mode = stat.S_IMODE(path.stat().st_mode)
    assert not path.exists()
    with pytest.raises(ValueError, match="closed"):
        outbox.add([None], ["1"], ["hash"], [b"{}"])

    outbox.remove()
    outbox.remove()

    assert (mode, path.exists()) == (0o600, False)


def test_f120_what_a_killed_run_left_is_deleted_after_a_day(state: StateDirectory) -> None:
    """It holds documents, or half of some results; a younger file may be that of a run at work, whole results stay."""
    half, whole = state.spool / "msgbatch_1.7.partial", state.spool / "msgbatch_1.jsonl"
    old, young = state.outbox("killed"), state.outbox("at work")
    for path in (old, young, half, whole):
        path.write_bytes(b"documents")
    for path in (old, half, whole):
        os.utime(path, (0, 0))

    StateDirectory.open(state.path)

    assert [path.exists() for path in (old, young, half, whole)] == [False, True, False, True]


# --- state directory -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["outbox/requests.jsonl", "spool/batch.1.partial"], ids=["outbox-requests", "spool-partial"]
)
def test_f28_a_file_that_another_run_takes_away_meanwhile_stops_nobody(state: StateDirectory, name: str) -> None:
    """Between listing the files and looking at one of them, its owner may have removed or renamed it."""
    listed_but_gone = state.path / name
    listed_but_gone.symlink_to("nowhere")
    assert listed_but_gone in listed_but_gone.parent.glob("*")

    assert StateDirectory.open(state.path) == state


def test_f126_only_the_owner_reads_what_is_kept(tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, whatever the umask."""
    before = os.umask(0)
    try:
        state = StateDirectory.open(tmp_path / "deep" / "state")
        FileSpool(state.spool).write("batch", [b"{1}"])
        with Outbox(state.outbox("run")) as outbox, state.hold("lock"):
            modes = {stat.S_IMODE(path.stat().st_mode) for path in files(state.path)}
        outbox.remove()
    finally:
        os.umask(before)

    folders = [state.path, *(path for path in state.path.iterdir() if path.is_dir())]
    assert modes == {0o600}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_opening_twice_leaves_no_trace_of_the_probe(tmp_path: Path) -> None:
    """Proving that the folder can be written leaves nothing in it."""
    StateDirectory.open(tmp_path / "state")
    state = StateDirectory.open(str(tmp_path / "state"))

    assert files(state.path) == []


def test_f88_a_folder_that_cannot_be_written_is_refused_before_money_is_spent(tmp_path: Path) -> None:
    """The message names the folder and what to do."""
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "state"

    with pytest.raises(StateDirectoryError, match=r"Not a directory.*Nothing was sent.*Set state_directory") as caught:
        StateDirectory.open(path)
    assert caught.value.path == path


@pytest.mark.parametrize("name", [*HOSTILE, "half \ud83d"])
def test_f118_no_run_or_lock_name_leads_out_of_the_folder(state: StateDirectory, name: str) -> None:
    """Names of runs, tables and partitions are hashed, never used as paths."""
    with Outbox(state.outbox(name)) as outbox, state.hold(name):
        assert {path.parent.name for path in files(state.path.parent)} == {"outbox", "locks"}
    outbox.remove()


HOLDER = """
import sys
from claude_batch_dagster.storage.files.state_directory import StateDirectory
with StateDirectory.open(sys.argv[1]).hold(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_f29_a_lock_shuts_out_other_processes_until_their_holder_is_gone(state: StateDirectory) -> None:
    """Another process waits for the lock, not for other locks, and gets it when its holder is killed."""
    command = [sys.executable, "-c", HOLDER, str(state.path), "a lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            state.hold("another lock"),
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as waiter,
        ):
            assert waiter.stdout is not None
            os.set_blocking(waiter.stdout.fileno(), False)
            assert waiter.stdout.read() is None
            holder.kill()
            os.set_blocking(waiter.stdout.fileno(), True)
            assert waiter.stdout.readline() == b"held\n"
            waiter.kill()


def test_f29_a_lock_is_waited_for_however_long_it_is_held(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder may be at work for a year: there is no time-out after which two hold it."""
    began, order, a_year_later, naps = time.perf_counter(), list[str](), threading.Event(), list[float]()

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 365:
            a_year_later.set()

    def wait() -> None:
        try:
            with state.hold("a lock"):
                order.append("waiter")
        finally:
            a_year_later.set()

    monkeypatch.setattr(time, "perf_counter", lambda: began + len(naps) * 86_400)
    monkeypatch.setattr(time, "sleep", nap)
    waiter = threading.Thread(target=wait)
    with state.hold("a lock"):
        waiter.start()
        a_year_later.wait()
        order.append("holder")
    waiter.join()

    assert order == ["holder", "waiter"]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777], ids=["F126-group", "F126-others", "F126-all"])
def test_a_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Somebody else could put a ledger or answers of theirs there."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(StateDirectoryError, match=r"others can write to it; chmod go-w"):
        StateDirectory.open(folder)

    folder.chmod(0o755)
    StateDirectory.open(folder)


def test_a_folder_of_a_volume_that_hands_its_group_on_is_taken(tmp_path: Path) -> None:
    """As a volume of Kubernetes with an fsGroup makes it, when the second pod starts."""
    state = StateDirectory.open(tmp_path / "state")
    for folder in (state.path, state.spool, state.locks):
        folder.chmod(0o2770)

    assert StateDirectory.open(state.path) == state


def test_f126_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could put a ledger of theirs there."""
    owner = os.geteuid()
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(StateDirectoryError, match=f"belongs to user {owner}, this process is user {owner + 1}"):
        StateDirectory.open(folder)


def test_f30_a_file_system_that_lets_two_hold_one_lock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems say yes to everybody; two runs would send the same rows."""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)

    with pytest.raises(StateDirectoryError, match="does not keep locks"):
        StateDirectory.open(tmp_path / "state")


def test_f30_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose mere existence is the lock would be no substitute: it outlives a holder that dies."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)

    with pytest.raises(StateDirectoryError, match="does not keep locks"):
        StateDirectory.open(tmp_path / "state")
