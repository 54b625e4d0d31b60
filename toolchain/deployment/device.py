"""A device with an open SSH connection, and what is done there: by its shell, coreutils, Python and SFTP."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import asyncssh

from toolchain.errors import DeployError

LINK = """
while IFS= read -r name; do
    mkdir -p "$(dirname "$2/$name")" || exit
    ln "$1/$name" "$2/$name" 2>/dev/null || cp "$1/$name" "$2/$name" || exit
done
"""

SWITCH = """
ln -sfn "$2" "$1.next" || exit
if [ -d "$1" ] && [ ! -L "$1" ]; then
    mv -T "$1" "$3" && { mv -T "$1.next" "$1" || { mv -T "$3" "$1"; false; } }
else
    mv -T "$1.next" "$1"
fi
"""
"""A symbolic link takes the place of another in one step; that of a folder, in two, the first of which is undone."""

CLEAN = """
cd "$1" || exit 0
for version in *; do
    [ "$version" = "$2" ] || [ "$version" = "$3" ] || case $version in
        *.part) find "$version" -maxdepth 0 -mmin +1440 -exec rm -rf {} + ;;
        *) rm -rf "$version" ;;
    esac
done
"""


@dataclass(frozen=True)
class Answer:
    """What a command on a device said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Device:
    """Paths are as the device sees them, relative ones from where a login begins."""

    connection: asyncssh.SSHClientConnection

    async def ask(self, *command: str | PurePosixPath, input: str = "") -> Answer:
        """Raises asyncssh.ConnectionLost where the connection ends before the command does."""
        process = await self.connection.create_process(shlex.join(map(str, command)), errors="replace")
        with suppress(BrokenPipeError):  # a command may end before it has read anything
            process.stdin.write(input)
        process.stdin.write_eof()
        done = await process.wait()
        if done.returncode is None:
            raise asyncssh.ConnectionLost("a command there did not come to its end")
        return Answer(done.returncode, str(done.stdout), str(done.stderr))

    async def do(self, *command: str | PurePosixPath, input: str = "") -> str:
        """Raises DeployError for a command that fails."""
        answer = await self.ask(*command, input=input)
        if answer.code != 0:
            said = answer.err.strip() or f"it ended with exit code {answer.code}"
            raise DeployError(f"a command failed there ({PurePosixPath(command[0]).name}): {said}")
        return answer.out

    async def script(self, text: str, *arguments: str | PurePosixPath, input: str = "") -> str:
        return await self.do("sh", "-c", text, "sh", *arguments, input=input)

    async def exists(self, path: PurePosixPath) -> bool:
        return (await self.ask("test", "-e", path)).code == 0

    async def target_of(self, link: PurePosixPath) -> PurePosixPath | None:
        """Where a symbolic link leads; None if it is none."""
        answer = await self.ask("readlink", link)
        return PurePosixPath(answer.out.strip()) if answer.code == 0 else None

    async def hashes(self, folder: PurePosixPath, names: Iterable[str]) -> dict[str, str]:
        """SHA-256 of those files below `folder` that are there."""
        listing = "".join(f"{name}\0" for name in names)
        answer = await self.ask("sh", "-c", 'cd "$1" && xargs -0 sha256sum --', "sh", folder, input=listing)
        pairs = (line.split("  ", 1) for line in answer.out.splitlines())
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}

    async def link(self, source: PurePosixPath, names: Iterable[str], destination: PurePosixPath) -> None:
        """The same files in another folder, without a second copy where the file system can."""
        await self.script(LINK, source, destination, input="".join(f"{name}\n" for name in names))

    async def send(self, files: Mapping[str, Path], folder: PurePosixPath, sent: Callable[[int], None]) -> None:
        """sent: called with the number of bytes whenever some have arrived."""
        for parent in {(folder / name).parent for name in files}:
            await self.do("mkdir", "-p", parent)
        async with self.connection.start_sftp_client() as sftp:
            for name, path in files.items():
                await sftp.put(path, str(folder / name), progress_handler=_steps(sent))

    async def switch(self, link: PurePosixPath, version: PurePosixPath, aside: PurePosixPath) -> None:
        """`link` leads to `version`, relative to where it lies; a folder in its place is moved `aside`."""
        await self.script(SWITCH, link, version, aside)

    async def clean(self, versions: PurePosixPath, *kept: str) -> None:
        """Removes every version but two, and what a broken deployment left there a day ago."""
        await self.script(CLEAN, versions, *kept)

    async def remove(self, folder: PurePosixPath) -> None:
        await self.ask("rm", "-rf", folder)


def _steps(sent: Callable[[int], None]) -> Callable[[bytes, bytes, int, int], None]:
    """From how many bytes of a file have arrived to how many more have."""
    before = 0

    def report(source: bytes, destination: bytes, done: int, total: int) -> None:
        nonlocal before
        sent(done - before)
        before = done

    return report
