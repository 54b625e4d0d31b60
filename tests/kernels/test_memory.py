"""memory.c by itself, and under the runtime: pages serve again, and never are more held than were in use at once."""

import ctypes
import mmap
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from graphs.kernels.build import SOURCES

MIB = 1 << 20
HEADER = 64
NOISE = MIB
"""Of resident memory: what Python itself takes meanwhile."""


@dataclass
class Memory:
    """The functions of memory.h, and what was taken and not freed yet, with its size."""

    library: ctypes.CDLL
    taken: dict[int, int] = field(default_factory=dict)

    def take(self, size: int) -> int:
        """Filled, so that all of it is resident."""
        address: int = self.library.memory_take(ctypes.c_size_t(size))
        assert address and address % HEADER == 0
        ctypes.memset(address, size % 251, size)
        self.taken[address] = size
        return address

    def free(self, address: int) -> None:
        size = self.taken.pop(address)
        content = np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address))
        assert content.min() == content.max() == size % 251
        self.library.memory_free(ctypes.c_void_p(address))

    def give_back(self) -> None:
        self.library.memory_return()

    @property
    def pages(self) -> int:
        """That are in use, as memory.c rounds them."""
        return sum(-(-(size + HEADER) // mmap.PAGESIZE) for size in self.taken.values())


SOURCE = (SOURCES / "memory.c").read_text()
BOUND = "used_pages + held_pages + pages > most_pages"


def load(source: str, folder: Path) -> Memory:
    (folder / "memory.c").write_text(source)
    made = folder / "memory.so"
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O1", "-fno-sanitize=all"]
    subprocess.run([*command, f"-I{SOURCES}", "-o", str(made), str(folder / "memory.c")], check=True)
    library = ctypes.CDLL(str(made))
    library.memory_take.restype = ctypes.c_void_p
    library.memory_recycle()
    return Memory(library)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Memory:
    return load(SOURCE, tmp_path_factory.mktemp("memory"))


@pytest.fixture
def memory(loaded: Memory) -> Iterator[Memory]:
    found = Memory(loaded.library)
    yield found
    for address in list(found.taken):
        found.free(address)
    found.give_back()


def resident() -> int:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * mmap.PAGESIZE


def faults(work: Callable[[], None]) -> int:
    """Pages that the system handed out meanwhile."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def take_and_free(memory: Memory, seed: int) -> int:
    """By how much resident memory was at most above what was in use at once until then."""
    chosen, start, most, excess = random.Random(seed), resident(), 0, 0
    for _ in range(400):
        if memory.taken and chosen.random() < 0.5:
            memory.free(chosen.choice(list(memory.taken)))
        else:
            memory.take(int(2 ** chosen.uniform(8, 21)))
        most = max(most, memory.pages * mmap.PAGESIZE)
        excess = max(excess, resident() - start - most)
    assert most > 4 * MIB
    return excess


@pytest.mark.parametrize("seed", range(6))
def test_no_more_is_held_than_was_in_use_at_once(memory: Memory, seed: int) -> None:
    """And what is taken is nobody else's: every block keeps what was written to it."""
    assert take_and_free(memory, seed) <= NOISE


def test_without_the_bound_more_is_held(tmp_path: Path) -> None:
    assert BOUND in SOURCE
    assert take_and_free(load(SOURCE.replace(BOUND, "0"), tmp_path), 0) > NOISE


def test_freed_pages_serve_again(memory: Memory) -> None:
    sizes = [3 * MIB, MIB, 2 * MIB]

    def step() -> None:
        for address in [memory.take(size) for size in sizes]:
            memory.free(address)

    pages = sum(sizes) // mmap.PAGESIZE
    assert faults(step) >= pages
    assert faults(step) < pages // 10
    memory.give_back()
    assert faults(step) >= pages


def test_small_pieces_become_a_large_one(memory: Memory) -> None:
    for address in [memory.take(MIB) for _ in range(4)]:
        memory.free(address)
    before = resident()
    memory.take(3 * MIB)
    assert resident() - before <= NOISE // 2


def test_all_that_is_held_goes_back(memory: Memory) -> None:
    before = resident()
    address = memory.take(32 * MIB)
    memory.free(address)
    assert resident() - before > 31 * MIB
    memory.give_back()
    assert resident() - before < NOISE


def test_what_cannot_be_had_is_refused(memory: Memory) -> None:
    for size in (1 << 60, (1 << 64) - 1):
        assert memory.library.memory_take(ctypes.c_size_t(size)) is None
    memory.take(MIB)
