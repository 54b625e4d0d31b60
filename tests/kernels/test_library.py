"""What the library asks of a machine, and what it shows of itself, for every platform that it is built for."""

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import onnxruntime
import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import Section, SymbolTableSection

from graphs.kernels import library
from graphs.kernels.build import PLATFORMS
from tests.kernels.harness import PLATFORM, chosen_isa, using

Kind = TypeVar("Kind", bound=Section)

MACHINES = {"linux-x86_64": "EM_X86_64", "linux-aarch64": "EM_AARCH64"}
NEWEST_C_LIBRARY = {"linux-x86_64": (2, 17), "linux-aarch64": (2, 27)}
EXPORTED = {"RegisterCustomOps", "toolchain_isa", "toolchain_return_memory"}
AVX2 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe", "popcnt"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512_vbmi2", "avx512_bitalg"}
LOADERS = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


@pytest.fixture(params=PLATFORMS)
def built(request: pytest.FixtureRequest) -> Iterator[tuple[str, ELFFile]]:
    """A platform, and the library for it."""
    name: str = request.param
    with library(name).open("rb") as file:
        yield name, ELFFile(file)


def section(elf: ELFFile, name: str, kind: type[Kind]) -> Kind:
    found = elf.get_section_by_name(name)
    assert isinstance(found, kind)
    return found


def test_it_needs_no_library_but_c_own(built: tuple[str, ELFFile]) -> None:
    name, elf = built
    tags = section(elf, ".dynamic", DynamicSection).iter_tags("DT_NEEDED")
    needed = {tag.needed for tag in tags}  # type: ignore[attr-defined]
    assert elf["e_machine"] == MACHINES[name]
    assert "libc.so.6" in needed <= {"libc.so.6", "libm.so.6", *LOADERS}


def test_it_runs_on_old_c_libraries(built: tuple[str, ELFFile]) -> None:
    name, elf = built
    needed = section(elf, ".gnu.version_r", GNUVerNeedSection).iter_versions()
    versions = [version.name.removeprefix("GLIBC_") for _, of_library in needed for version in of_library]
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers and max(numbers) <= NEWEST_C_LIBRARY[name], versions


def test_it_shows_nothing_else(built: tuple[str, ELFFile]) -> None:
    _, elf = built
    symbols = section(elf, ".dynsym", SymbolTableSection).iter_symbols()
    assert {symbol.name for symbol in symbols if symbol.name and symbol["st_shndx"] != "SHN_UNDEF"} == EXPORTED
    assert not elf.get_section_by_name(".symtab") and not elf.get_section_by_name(".debug_info")


def best_isa() -> str:
    """By the system's word for what the processor has."""
    if platform.machine() == "aarch64":
        return "neon"
    flags = {*Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()}
    return "avx512" if flags >= AVX512 else "avx2" if flags >= AVX2 else "scalar"


def test_it_takes_the_best_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOOLCHAIN_ISA", raising=False)
    assert chosen_isa() == best_isa()


def test_it_takes_the_instruction_set_that_is_wanted() -> None:
    names = list(PLATFORMS[PLATFORM].instruction_sets)
    for isa in names:
        with using(isa):
            assert chosen_isa() == (isa if names.index(isa) <= names.index(best_isa()) else None)


@pytest.mark.parametrize("isa", ["", "sse9"])
def test_it_refuses_an_instruction_set_that_is_not_there(isa: str) -> None:
    with using(isa), pytest.raises(Exception, match="TOOLCHAIN_ISA names an instruction set"):
        onnxruntime.SessionOptions().register_custom_ops_library(str(library(PLATFORM)))
