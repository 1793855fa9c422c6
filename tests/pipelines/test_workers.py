import concurrent.futures.process
import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from pipelines import workers
from pipelines.schema import RefusedError
from pipelines.workers import DaskCrew, LocalCrew, run_each
from tests.faults import cluster, dask_worker
from tests.killing import work


def test_the_dead_are_replaced_and_only_the_killer_is_given_up(tmp_path):
    bomb = tmp_path / "bomb"
    bomb.touch()
    items = [1, 2, "kill", 3, f"once {bomb}", 4, 5, 6]
    results = dict(run_each(work, items, LocalCrew(2)))
    assert results == {1: 1, 2: 4, "kill": None, 3: 9, f"once {bomb}": "once", 4: 16, 5: 25, 6: 36}


def test_workers_that_always_die_are_refused():
    with pytest.raises(RefusedError, match=r"a worker must live through a video. Received: 3 videos"):
        list(run_each(work, ["kill", "kill a", "kill b", "kill c", "kill d"], LocalCrew(1)))


def test_an_error_ends_the_work_after_what_runs(tmp_path):
    done, slow = [], f"slow {tmp_path / 'x'}"

    def note():
        for item, _ in run_each(work, [1, slow, "fail", 2, 3], LocalCrew(2)):
            done.append(item)

    with pytest.raises(OSError, match="disk"):
        note()
    assert set(done) == {1, slow}  # 1 was done when "fail" came in, slow ran beside it


def test_ctrl_c_ends_what_a_worker_does_and_not_the_worker():
    with workers._new_process() as process:  # before its first item, seen from outside of items
        assert process.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    with LocalCrew(1).executor() as executor:
        worker = executor.submit(os.getpid).result()
        os.kill(worker, signal.SIGINT)  # it waits, holding the lock of the queue
        assert executor.submit(os.getpid).result(60) == worker
        begin = time.monotonic()
        busy = executor.submit(time.sleep, 60)
        while not busy.done():
            time.sleep(0.5)
            os.kill(worker, signal.SIGINT)
        assert isinstance(busy.exception(), KeyboardInterrupt)
        assert time.monotonic() - begin < 30
        assert executor.submit(os.getpid).result(60) == worker


def test_a_death_while_another_item_is_handed_over_ends_its_own_item_alone(monkeypatch, tmp_path):
    with LocalCrew(2).executor() as executor:
        victim = executor.submit(os.getpid).result()
        doomed = executor.submit(work, f"sleep {tmp_path / 'x'}")
        make = concurrent.futures.process._WorkItem

        def killing(*arguments):
            os.kill(victim, signal.SIGKILL)
            wait([doomed], 60)
            return make(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(concurrent.futures.process, "_WorkItem", killing)
            other = executor.submit(work, 3)
        assert other.result(60) == 9
        assert isinstance(doomed.exception(0), BrokenProcessPool)
        assert victim not in {executor.submit(os.getpid).result(60) for _ in range(4)}


def test_a_worker_that_dies_between_two_items_is_replaced():
    with LocalCrew(1).executor() as executor:
        first = executor.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        time.sleep(1)  # the pool has noticed
        assert executor.submit(os.getpid).result(60) != first


class Counting:
    """Threads that note how many items were under way."""

    deaths = ()

    def __init__(self):
        self.most = self.now = 0

    def room(self):
        return 5

    def look(self):
        pass

    @contextlib.contextmanager
    def executor(self):
        crew = self

        class Threads(ThreadPoolExecutor):
            def submit(self, function, item):
                crew.now += 1
                crew.most = max(crew.most, crew.now)
                return super().submit(function, item)

        with Threads(2) as threads:
            yield threads


def test_of_many_items_few_are_submitted():
    crew = Counting()
    for number, _ in run_each(work, range(500), crew):
        crew.now -= 1
        assert number < 500
    assert crew.most <= 5


PARENT = """
import os, sys, time
from concurrent.futures import wait
from pipelines.workers import LocalCrew
if __name__ == "__main__":
    with LocalCrew(1).executor() as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def test_workers_do_not_outlive_a_killed_build(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True
    )
    worker = int(parent.stdout.readline())
    os.kill(worker, 0)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and is_running(worker):
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # in a container nobody may collect it


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("distributed")
    with cluster(tmp_path_factory.mktemp("cluster")) as address:
        yield address


def test_a_cluster_does_the_work_and_only_the_killer_is_given_up(address, tmp_path):
    bomb = tmp_path / "bomb"
    bomb.touch()
    items = [1, 2, "kill", 3, f"once {bomb}", 4]
    with DaskCrew(address) as crew:
        results = dict(run_each(work, items, crew))
    assert results == {1: 1, 2: 4, "kill": None, 3: 9, f"once {bomb}": "once", 4: 16}


def test_an_error_on_a_cluster_is_raised_here(address):
    with DaskCrew(address) as crew, pytest.raises(OSError, match="disk"):
        list(run_each(work, [1, "fail", 2], crew))


def unknown_elsewhere(item):
    """The workers of a cluster do not find the module that this test is in."""


def test_workers_without_the_code_are_refused(address):
    message = r"each worker must have the packages that the build has. Received: "
    with DaskCrew(address) as crew, pytest.raises(RefusedError, match=message):
        list(run_each(unknown_elsewhere, [1], crew))


def test_a_cluster_without_workers_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    """None ever came, or the last one is gone in the middle of the work."""
    pytest.importorskip("distributed")
    monkeypatch.setattr("pipelines.workers.LOOK_SECONDS", 0.2)
    monkeypatch.setattr("pipelines.workers.MOST_SECONDS_ALONE", 2)
    refused = pytest.raises(RefusedError, match=r"the scheduler must have workers. Received: 'tcp.*for 2 s")
    with cluster(tmp_path, workers=0) as address, DaskCrew(address) as crew:
        with refused:
            list(run_each(work, [1, 2], crew))
        with dask_worker(tmp_path) as shell:
            deadline = time.monotonic() + 60
            while crew.room() == 8 and time.monotonic() < deadline:
                time.sleep(0.05)
            items = run_each(work, [1, "sleep"], crew)
            assert next(items) == (1, 1)
            os.killpg(shell.pid, signal.SIGKILL)
            with refused:
                next(items)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "tcp://"])
def test_no_scheduler_is_refused_quickly(address):
    pytest.importorskip("distributed")
    begin = time.monotonic()
    with pytest.raises(
        RefusedError, match=r"--scheduler must be the address of a running Dask scheduler. Rec"
    ):
        DaskCrew(address)
    assert time.monotonic() - begin < 30


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RefusedError, match=r"tfgma\[cluster\]"):
        DaskCrew("tcp://127.0.0.1:9")
